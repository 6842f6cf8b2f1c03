"""Load over HTTP: its arithmetic, its arrivals, and its clients against a real server."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Arrival, Mix, parse_mix, poisson
from cluster.bench.http.load import Clients, Shot, open_loop
from cluster.bench.http.peers import OURS, PEERS, Target, complaint, peer_named, reach
from cluster.bench.http.records import Row, read_retry_after
from cluster.bench.http.roles import REST, anonymous_bytes, cpu_seconds, role_of
from cluster.bench.http.texts import Texts
from cluster.local.host import free_port
from deployments.http.dialects import choose
from reranker.errors import InvalidField, Unavailable
from tests.cluster.bench.endpoint import Endpoint
from tests.cluster.conftest import Shell

MIX = Mix((10, 100), (0.75, 0.25))
ROWS = st.lists(
    st.builds(
        lambda intended_s, late_s, took_s, documents, status, told_s: Row(
            intended_s, intended_s + late_s, intended_s + late_s + took_s, documents, status, told_s
        ),
        st.floats(0, 60),
        st.floats(0, 5),
        st.floats(0.001, 30),
        st.integers(1, 1_000),
        st.sampled_from([200, 200, 429, 503]),
        st.one_of(st.none(), st.floats(0.1, 30)),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts(seed=0)


def answered(intended_s: float, done_s: float, documents: int = 10) -> Row:
    return Row(intended_s, intended_s, done_s, documents, 200)


def refused(at_s: float, told_s: float | None) -> Row:
    return Row(at_s, at_s, at_s, 10, 429, told_s)


# Arrivals


@given(seed=st.integers(0, 2**32), rate=st.floats(1, 50))
def test_arrivals_are_as_many_and_as_large_as_asked(seed: int, rate: float) -> None:
    arrivals = poisson(rate, 200.0, MIX, seed)
    expected = rate * 200
    assert abs(len(arrivals) - expected) < 6 * expected**0.5
    large = sum(arrival.documents == 100 for arrival in arrivals)
    assert abs(large - 0.25 * len(arrivals)) < 6 * (0.25 * 0.75 * len(arrivals)) ** 0.5
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert all(0 <= at_s < 200 for at_s in times)


def test_gaps_between_arrivals_are_exponential_and_the_seed_decides() -> None:
    arrivals = poisson(100.0, 100.0, MIX, 1)
    gaps = np.diff([arrival.at_s for arrival in arrivals])
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert arrivals == poisson(100.0, 100.0, MIX, 1) != poisson(100.0, 100.0, MIX, 2)


def test_a_mix_has_sizes_with_weights() -> None:
    assert parse_mix("--mix", "100") == Mix((100,), (1.0,))
    assert parse_mix("--mix", "10:3, 100:1") == MIX
    assert MIX.mean_documents == 32.5


@pytest.mark.parametrize("text", ["", "ten", "10:", "0", "-5", "10:0", "10:-1", "10:inf", "10:nan", "10;20"])
def test_a_mix_that_is_none_is_refused(text: str) -> None:
    if text == "10:":  # an empty weight is 1
        assert parse_mix("--mix", text) == Mix((10,), (1.0,))
        return
    with pytest.raises(InvalidField, match="SIZE:WEIGHT"):
        parse_mix("--mix", text)


# Figures


def test_latency_counts_from_the_intended_start() -> None:
    late_client = Row(1.0, 5.0, 6.0, 1, 200)
    assert figures.latencies([late_client]) == [5.0]
    assert figures.lag([late_client])["max_s"] == 4.0


@given(st.lists(st.floats(0, 1e3), max_size=50))
def test_percentiles_are_in_order_and_among_the_values(values: list[float]) -> None:
    spread = figures.spread(values)
    assert spread["count"] == len(values)
    if values:
        assert min(values) <= spread["p50_s"] <= spread["p95_s"] <= spread["p99_s"] <= spread["max_s"] == max(values)


@given(ROWS, st.floats(0.1, 15))
def test_goodput_is_never_more_than_what_was_answered(rows: list[Row], deadline_s: float) -> None:
    good = figures.goodput(rows, deadline_s, 60.0)
    assert 0 <= good <= sum(row.documents for row in rows if row.accepted) / (60.0 - deadline_s) + 1e-9
    assert sum(figures.statuses(rows).values()) == len(rows)


def test_goodput_leaves_out_what_came_late_and_what_had_no_load_behind_it() -> None:
    rows = [answered(0, 1.9), answered(2, 3.5), answered(1, 9), answered(9.5, 10.5), refused(2, 1.0)]
    assert figures.goodput(rows, deadline_s=2.0, seconds=10.0) == 10 / 8


def test_throughput_is_over_the_time_until_the_last_answer() -> None:
    assert figures.docs_per_s([answered(1, 2), answered(2, 6)]) == 4.0
    assert figures.docs_per_s([refused(1, None)]) == 0.0


@given(ROWS)
def test_the_true_wait_is_until_all_that_was_accepted_before_is_answered(rows: list[Row]) -> None:
    told, true = figures.waits(rows)
    told_refusals = [row for row in rows if row.status == 429 and row.retry_after_s is not None]
    assert list(told) == [row.retry_after_s for row in told_refusals]
    for refusal, wait in zip(told_refusals, true, strict=True):
        ends = [row.done_s for row in rows if row.accepted and row.sent_s < refusal.done_s]
        assert wait == max([0.0, *(end - refusal.done_s for end in ends)])


def test_refusals_are_judged_by_their_status_their_speed_and_their_truth() -> None:
    rows = [
        answered(0, 10),
        refused(2, 8.0),  # true
        refused(5, 9.0),  # 5 s are true: within a factor of 2
        refused(6, 1.0),  # 4 s are true
        refused(11, 1.0),  # nothing was queued any more
        refused(3, None),
        Row(0, 0, 0.5, 10, 503),
        Row(0, 0, 0.5, 10, 0, problem="ReadTimeout"),
    ]
    found = figures.refusals(rows)
    assert found["count"] == 7
    assert found["share"] == 7 / 8
    assert found["statuses"] == {"429": 5, "503": 1, "ReadTimeout": 1}
    assert found["share_429_with_retry_after"] == 4 / 7
    assert found["retry_after"]["told"] == 4
    assert found["retry_after"]["share_within_factor_2"] == 2 / 4
    assert found["retry_after"]["median_ratio"] == 1.0
    assert found["retry_after"]["nothing_was_queued"] == 1
    assert figures.refusals([])["share_429_with_retry_after"] is None


def test_memory_that_grows_is_told_from_memory_that_does_not() -> None:
    minutes = list(np.linspace(0, 10, 40))
    assert figures.drift(minutes, [5.0] * 40) == {"first": 5, "last": 5, "growth": 0, "per_minute": pytest.approx(0)}
    grown = figures.drift(minutes, [100 + 2 * minute for minute in minutes])
    assert grown["per_minute"] == pytest.approx(2)
    assert grown["growth"] > 0.1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "6250"}, 6.25),
        ({"retry-after": "7", "x-retry-after-ms": "6250"}, 6.25),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_exact_wait_comes_before_the_rounded_one(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == seconds


# Texts, dialects, processes


def test_no_query_comes_twice_and_blocks_are_as_large_as_asked(texts: Texts) -> None:
    assert len({texts.query() for _ in range(500)}) == 500
    for size in (1, 10, 1_000):
        block = texts.block(size)
        assert json.loads(block.json) == list(block.documents)
        assert len(block.documents) == size


@pytest.mark.parametrize("dialect", [OURS, *PEERS.values()], ids=lambda dialect: dialect.name)
def test_our_own_server_reads_every_dialect(dialect: object, texts: Texts) -> None:
    assert isinstance(dialect, type(OURS))
    block = texts.block(10)
    body = json.loads(dialect.body('a "query"', block.json, "org/name"))
    request = choose(dialect.path, body).parse(body).request()
    assert request.query == 'a "query"'
    assert [candidate.passage.text for candidate in request.candidates] == list(block.documents)


def test_answers_are_counted_and_complaints_read_in_every_shape() -> None:
    assert OURS.answers({"results": [1, 2]}) == 2
    assert PEERS["tei"].answers([1, 2, 3]) == 3
    assert OURS.answers([1]) == OURS.answers({"results": None}) == PEERS["tei"].answers({"results": [1]}) == 0
    shapes = [
        {"error": "no", "error_type": "x"},
        {"error": {"message": "no"}},
        {"message": "no"},
        {"detail": "no"},
        "no",
    ]
    assert {complaint(shape) for shape in shapes} == {"no"}
    with pytest.raises(InvalidField, match="use one of tei, vllm, infinity"):
        peer_named("cohere")


def test_processes_are_known_by_what_they_do() -> None:
    assert role_of("ray::ServeReplica:reranker:Gateway.handle_request") == "gateway"
    assert role_of("ray::ProxyActor") == "proxy"
    assert role_of("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=y") == "raylet"
    assert role_of("/bin/python -u dashboard.py") == REST
    assert sum(anonymous_bytes(os.getpid()).values()) > 10e6
    assert sum(cpu_seconds(os.getpid()).values()) > 0


# Clients against a server


def target(endpoint: Endpoint) -> Target:
    return Target("endpoint", endpoint.url, OURS)


def test_an_open_loop_never_waits_for_an_answer(texts: Texts) -> None:
    """The server answers nobody before all have come: clients that waited would wait for ever."""
    with Endpoint(together=50).serving() as endpoint:
        arrivals = [Arrival(number / 500, 3) for number in range(50)]
        run = runs.run_arrivals(target(endpoint), texts, arrivals, timeout_s=30, keys=5)
    assert [row.status for row in run.rows] == [200] * 50
    assert [row.intended_s for row in run.rows] == [arrival.at_s for arrival in arrivals]
    assert all(row.intended_s <= row.sent_s <= row.done_s for row in run.rows)
    assert endpoint.most_inside == 50
    assert Counter(endpoint.keys) == {f"Bearer bench-{number}": 10 for number in range(5)}
    assert len({str(body["query"]) for body in endpoint.bodies}) == 50
    assert all(len(list(body["documents"])) == 3 for body in endpoint.bodies)  # type: ignore[call-overload]


def test_a_closed_loop_has_as_many_requests_under_way_as_clients(texts: Texts) -> None:
    with Endpoint(together=4).serving() as endpoint:
        run = runs.run_clients(target(endpoint), texts, 4, islice(repeat(2), 40), seconds=60, timeout_s=30)
    assert len(run.rows) == 40
    assert endpoint.most_inside == 4
    assert figures.docs_per_s(run.rows) > 0


def test_small_requests_beside_large_ones_are_told_apart(texts: Texts) -> None:
    with Endpoint(seconds=0.05).serving() as endpoint:
        arrivals = [Arrival(0.0, 2), Arrival(0.1, 2)]
        run, beside = runs.run_beside(target(endpoint), texts, arrivals, 2, 7, timeout_s=30)
    assert [row.documents for row in run.rows] == [2, 2]
    assert {row.documents for row in beside} == {7}


def test_refusals_and_lost_connections_become_rows(texts: Texts) -> None:
    with Endpoint(slots=0).serving() as endpoint:
        (row,) = runs.run_some(target(endpoint), texts, 1, 1, timeout_s=30).rows
    assert (row.status, row.retry_after_s) == (429, 0.25)
    gone = runs.run_some(target(endpoint), texts, 1, 1, timeout_s=30).rows
    assert figures.statuses(gone) == {"ConnectError": 1}


def test_a_client_that_falls_behind_says_so() -> None:
    """What was meant to start before the clock did is sent at once, and its latency counts from then."""

    async def run(endpoint: Endpoint) -> list[Row]:
        async with Clients(target(endpoint), 30) as clients:
            return await open_loop(clients, [Arrival(-5.0, 1)], [Shot(1, b'{"documents":["a"]}', OURS.path)])

    with Endpoint().serving() as endpoint:
        (row,) = asyncio.run(run(endpoint))
    assert row.accepted
    assert row.latency_s > 5.0
    assert figures.lag([row])["p50_s"] > 5.0


def test_a_server_that_is_not_there_or_another_is_named() -> None:
    free = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(Unavailable, match=f"vllm: nothing answers at {free} .ConnectError.: start it"):
        reach("vllm", free, PEERS["vllm"])
    with Endpoint().serving() as endpoint:
        assert reach("reranker", endpoint.url + "/", OURS).url == endpoint.url
        with pytest.raises(Unavailable, match="/rerank answered 503: the model has left"):
            reach("tei", endpoint.url, PEERS["tei"])
        with pytest.raises(Unavailable, match="does vllm run there"):
            reach("vllm", endpoint.url, PEERS["vllm"])


# The command


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--peer", "cohere", "http://x"), "'cohere' is not known: use one of tei, vllm, infinity"),
        (("--scenario", "overlaod"), "'overlaod' is not known: use any of overhead,throughput,mixed,overload,soak"),
        (("--mix", "ten"), "--mix: got 'ten'"),
        (("--graph-args", "[1]"), "--graph-args: must be an object"),
        (("--seconds", "0"), "--seconds: Input should be greater than 0"),
        (("--url", "http://x", "--throughput-mode"), "leave --url out"),
    ],
)
def test_wrong_input_ends_in_one_line(shell: Shell, arguments: tuple[str, ...], complaint: str) -> None:
    ended = shell("bench", "http", *arguments)
    assert ended.code == 2
    assert complaint in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.fixture
def busy() -> Iterator[Endpoint]:
    with Endpoint(slots=4, seconds=0.01).serving() as endpoint:
        yield endpoint


def test_the_command_measures_a_server_and_draws_it(shell: Shell, busy: Endpoint) -> None:
    scenarios = "overhead,throughput,mixed,overload,soak"
    ended = shell(
        *("bench", "http", "--url", busy.url, "--scenario", scenarios, "--seconds", "0.5", "--rounds", "1"),
        *("--clients", "4", "--documents", "5", "--mix", "5:2,10:1", "--json", "-", "--picture", "all.png"),
        *("--requests", "5"),
    )
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["scenarios"]
    (overload,) = found["overload"]["contenders"]
    assert set(overload["statuses"]) == {"200", "429"}
    assert overload["refused"]["share_429_with_retry_after"] == 1.0
    assert overload["offered_docs_per_s"] > overload["goodput_docs_per_s"] > 0
    (overhead,) = found["overhead"]["contenders"]
    assert set(overhead["steps_p50_s"]) == {"/v1/models", "/health"}
    assert found["throughput"]["contenders"][0]["docs_per_s"] > 0
    assert found["mixed"]["contenders"][0]["lone"]["count"] > 0
    assert found["soak"]["contenders"][0]["latency"]["count"] > 0
    assert Path("all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_overhead_of_the_real_graph_is_found(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1")
    ended = shell(
        *("bench", "http", "--scenario", "overhead", "--rounds", "1", "--requests", "20"),
        *("--simulated-tokens-per-s", "40000", "--port", str(port), "--json", "-"),
    )
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["scenarios"]["overhead"]
    (row,) = found["contenders"]
    assert row["overhead_s"] > 0
    assert found["engine"]["scoring_p50_s"] > 20 / 40_000
    assert {"gateway", "tokenizer", "scorer", "proxy"} <= row["cpu_s_a_request"].keys()
