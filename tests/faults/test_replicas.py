"""Replicas that die, hang, give wrong scores or slow down under a steady load: no request fails."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults import victims
from tests.faults.faulty import CORRUPT, SLOW, STALLED, inject
from tests.faults.graph import Graph
from tests.faults.load import BODY, Load
from tests.faults.results import Results

pytestmark = pytest.mark.slow

QUEUE_S = 2.0


@pytest.mark.parametrize(("how", "what"), [(victims.kill, "killed"), (victims.freeze, "hangs")])
@pytest.mark.parametrize("victim", ["Scorer", "Tokenizer", "Gateway"])
def test_no_request_fails_when_a_replica_is_killed_or_hangs(
    victim: str, how: Callable[[int], None], what: str, graph: Graph, load: Load, results: Results
) -> None:
    """The whole process hangs, as in a debugger or on a machine that swaps: it answers no health check either."""
    pid = graph.pids(victim)[0]
    with load:
        load.wait_for(10)
        how(pid)
        recovered_s = graph.wait_until_running(without=[pid])
        load.wait_for(10)
    results.add(f"{victim} {what}", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_no_request_fails_when_a_forward_pass_never_ends(graph: Graph, load: Load, results: Results) -> None:
    """The process answers, its device does not: the scoring loop reports that it stalled."""
    pid = graph.pids("Scorer")[0]
    with load:
        load.wait_for(10)
        inject(STALLED, pid, graph.faults)
        recovered_s = graph.wait_until_running(without=[pid])
        load.wait_for(10)
    results.add("a forward pass never ends", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_slow_scorer_is_kept_and_no_request_fails(graph: Graph, load: Load, results: Results) -> None:
    pids = graph.pids("Scorer")
    with load:
        load.wait_for(10)
        inject(SLOW, pids[0], graph.faults)
        slowed_s = time.monotonic()
        load.wait_for(100)
    late = sorted(answer.took_s for answer in load.answers if answer.sent_s > slowed_s)
    results.add("a scorer ten times slower", load, None, f"median {late[len(late) // 2]:.1f} s")
    assert load.failed == []
    assert graph.pids("Scorer") == pids, "slow is not unhealthy"
    assert len(load.orders) == 1


def test_passage_without_finite_score_fails_only_its_own_request(graph: Graph, load: Load, results: Results) -> None:
    pids = graph.pids("Scorer")
    with load:
        load.wait_for(10)
        poisoned = BODY | {"documents": ["high tide", "bread and yeast", "low tide"]}
        answers = [httpx.post(f"{graph.url}/v2/rerank", json=poisoned, timeout=60) for _ in range(5)]
        load.wait_for(10)
    results.add("a passage that scores NaN", load, None, f"{len(answers)} such requests: 503 each")
    assert {answer.status_code for answer in answers} == {503}
    assert "no finite score for document 1" in answers[0].json()["message"]
    assert load.failed == []
    assert graph.pids("Scorer") == pids


@pytest.fixture
def production_checks(graph: Graph) -> Iterator[Graph]:
    """Health checks as in production: every 5 s, 30 s to answer, unhealthy after three failures."""
    checks = {"health_check_period_s": 5, "health_check_timeout_s": 30}
    graph.deploy(scorer_options=checks, admission={"queue_s": QUEUE_S})
    yield graph
    graph.deploy()


def test_no_request_fails_when_a_scorer_hangs_before_serve_notices(
    production_checks: Graph, load: Load, results: Results
) -> None:
    """Its shards are sent to the other scorer after three times the queue's length."""
    pid = production_checks.pids("Scorer")[0]
    with load:
        load.wait_for(10)
        victims.freeze(pid)
        recovered_s = production_checks.wait_until_running(without=[pid])
        load.wait_for(10)
    results.add("Scorer hangs, production's health checks", load, recovered_s, f"queue_s {QUEUE_S:g}")
    assert load.failed == []
    assert len(load.orders) == 1


@pytest.fixture
def embedded(graph: Graph) -> Iterator[Graph]:
    """A real model, whose golden scores show whether it is healthy.

    Its queue is long because a scorer that starts takes CPU from the one that remains, which is no fault of either.
    """
    graph.deploy(engine={"threads": 1}, dtype="float32", admission={"queue_s": 60})
    yield graph
    graph.deploy()


def test_scorer_with_corrupted_weights_exits_and_no_request_fails(embedded: Graph, results: Results) -> None:
    """It gives NaN, fails its golden scores and exits; the other one answers with the same ranking."""
    pid = embedded.pids("Scorer")[0]
    with Load.at_half_capacity(embedded.url) as load:
        load.wait_for(10)
        inject(CORRUPT, pid, embedded.faults)
        recovered_s = embedded.wait_until_running(without=[pid])
        load.wait_for(10)
    results.add("a scorer gives NaN (embedded model)", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_no_request_in_flight_fails_when_gateways_are_killed(graph: Graph, results: Results) -> None:
    """Both are killed in turn, with scorers so slow that some request is always in flight."""
    for pid in graph.pids("Scorer"):
        inject(SLOW, pid, graph.faults)
    with Load.at_half_capacity(graph.url, scorers=2) as load:
        load.wait_for(4)
        for pid in graph.pids("Gateway"):
            victims.kill(pid)
            recovered_s = graph.wait_until_running(without=[pid])
        load.wait_for(4)
    results.add("both gateways killed, slow requests in flight", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1
