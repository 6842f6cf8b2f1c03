"""Texts to send, and clients against a real server."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from itertools import islice, repeat

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import Arrival
from cluster.bench.http.load import Clients, PreparedRequest, open_loop
from cluster.bench.http.records import Row
from cluster.bench.http.targets import OURS, Target
from cluster.bench.http.texts import Texts
from tests.cluster.bench.http.endpoint import Endpoint


def target(endpoint: Endpoint) -> Target:
    return Target("endpoint", endpoint.url, OURS)


def test_queries_are_unique_and_blocks_have_the_requested_size(texts: Texts) -> None:
    assert len({texts.query() for _ in range(500)}) == 500
    for size in (1, 10, 1_000):
        block = texts.block(size)
        assert json.loads(block.json) == list(block.documents)
        assert len(block.documents) == size


def test_open_loop_does_not_wait_for_answers(texts: Texts) -> None:
    """The server answers only when all requests have arrived: clients that waited for an answer would hang."""
    with Endpoint(together=50).serving() as endpoint:
        arrivals = [Arrival(number / 500, 3) for number in range(50)]
        run = runs.run_arrivals(target(endpoint), texts, arrivals, timeout_s=30, senders=runs.in_rotation(5))
    assert [row.status for row in run.rows] == [200] * 50
    assert [row.intended_s for row in run.rows] == [arrival.at_s for arrival in arrivals]
    assert all(row.intended_s <= row.sent_s <= row.done_s for row in run.rows)
    assert endpoint.max_inside == 50
    assert Counter(endpoint.keys) == {f"Bearer bench-{number}": 10 for number in range(5)}
    assert len({str(body["query"]) for body in endpoint.bodies}) == 50
    assert all(len(list(body["documents"])) == 3 for body in endpoint.bodies)  # type: ignore[call-overload]


def test_requests_present_the_keys_that_their_server_accepts(texts: Texts) -> None:
    with Endpoint().serving() as endpoint:
        guarded = replace(target(endpoint), keys=("first", "second"))
        runs.run_sequential(guarded, texts, 1, 3, timeout_s=30)
        runs.run_arrivals(guarded, texts, [Arrival(0.0, 3)] * 2, timeout_s=30, senders=[1, None])
    assert sorted(endpoint.keys) == ["Bearer first", "Bearer first", "Bearer second"]


def test_closed_loop_has_one_request_in_flight_per_client(texts: Texts) -> None:
    with Endpoint(together=4).serving() as endpoint:
        run = runs.run_clients(target(endpoint), texts, 4, islice(repeat(2), 40), seconds=60, timeout_s=30)
    assert len(run.rows) == 40
    assert endpoint.max_inside == 4
    assert figures.docs_per_s(run.rows) > 0


def test_rows_of_small_requests_are_separate_from_the_background(texts: Texts) -> None:
    with Endpoint(seconds=0.05).serving() as endpoint:
        arrivals = [Arrival(0.0, 2), Arrival(0.1, 2)]
        run, background = runs.run_with_background(target(endpoint), texts, arrivals, 2, 7, timeout_s=30)
    assert [row.documents for row in run.rows] == [2, 2]
    assert {row.documents for row in background} == {7}


def test_refusals_and_lost_connections_become_rows(texts: Texts) -> None:
    with Endpoint(slots=0).serving() as endpoint:
        (row,) = runs.run_sequential(target(endpoint), texts, 1, 1, timeout_s=30).rows
    assert (row.status, row.retry_after_s) == (429, 0.25)
    gone = runs.run_sequential(target(endpoint), texts, 1, 1, timeout_s=30).rows
    assert figures.statuses(gone) == {"ConnectError": 1}


def test_lag_of_a_late_client_is_part_of_the_latency() -> None:
    """A request with an intended start in the past is sent at once, and its latency counts from that start."""

    async def run(endpoint: Endpoint) -> list[Row]:
        async with Clients(target(endpoint), 30) as clients:
            return await open_loop(
                clients, [Arrival(-5.0, 1)], [PreparedRequest(1, b'{"documents":["a"]}', OURS.path)]
            )

    with Endpoint().serving() as endpoint:
        (row,) = asyncio.run(run(endpoint))
    assert row.accepted
    assert row.latency_s > 5.0
    assert figures.lag([row])["p50_s"] > 5.0
