"""`reranker bench http` as a command."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.bench.http.hostile_clients import KINDS
from cluster.local.host import free_port
from tests.cluster.bench.http.endpoint import Endpoint
from tests.cluster.conftest import Shell


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--peer", "cohere", "http://x"), "'cohere' is not known: use one of tei, vllm, infinity"),
        (
            ("--scenario", "overlaod"),
            "'overlaod' is not known: use any of overhead,throughput,mixed,overload,flood,hostile,soak",
        ),
        (("--mix", "ten"), "--mix: got 'ten'"),
        (("--graph-args", "[1]"), "--graph-args: must be a JSON object"),
        (("--seconds", "0"), "--seconds: Input should be greater than 0"),
        (("--url", "http://x", "--ingress", "throughput"), "leave one of them out"),
        (("--ingress", "nginx"), "'nginx' is not known: use any of default,throughput,haproxy"),
        (("--scenario", "flood"), "--keys: flood needs one key that floods and others, got 0"),
        (("--scenario", "hostile", "--keys", "3"), "--keys: the clients of hostile have none"),
    ],
)
def test_invalid_input_prints_one_line(shell: Shell, arguments: tuple[str, ...], complaint: str) -> None:
    ended = shell("bench", "http", *arguments)
    assert ended.code == 2
    assert complaint in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.fixture
def busy() -> Iterator[Endpoint]:
    with Endpoint(slots=4, seconds=0.2).serving() as endpoint:
        yield endpoint


def test_command_measures_a_server_in_every_scenario_and_draws_it(shell: Shell, busy: Endpoint) -> None:
    scenarios = "overhead,throughput,mixed,overload,flood,soak"
    ended = shell(
        *("bench", "http", "--url", busy.url, "--scenario", scenarios, "--seconds", "1.5", "--rounds", "1"),
        *("--clients", "4", "--documents", "5", "--mix", "5:2,10:1", "--json", "-", "--picture", "all.png"),
        *("--requests", "5", "--rate", "100", "--keys", "4"),
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
    (flood,) = found["flood"]["contenders"]
    others = sum(flood["statuses"].values())
    assert sum(flood["statuses_alone"].values()) == others > 0  # the same requests, alone and beside the flood
    assert sum(flood["flood_statuses"].values()) > 10 * others
    assert found["soak"]["contenders"][0]["latency"]["count"] > 0
    assert Path("all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_hostile_scenario_counts_what_hostile_clients_were_answered(shell: Shell, busy: Endpoint) -> None:
    ended = shell(*("bench", "http", "--url", busy.url, "--scenario", "hostile", "--seconds", "12", "--json", "-"))
    assert ended.code == 0, ended.err
    rows = {row["beside"]: row for row in json.loads(ended.out)["scenarios"]["hostile"]["contenders"]}
    assert set(rows) == {"alone", *KINDS}
    assert rows["alone"]["p99_over_lone_p99"] == 1
    assert rows["half-sent bodies"]["hostile_answers"] == {"unanswered": 200}
    assert all(row["statuses"].get("200") for row in rows.values())


@pytest.mark.slow
def test_overhead_scenario_measures_the_real_graph(
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
