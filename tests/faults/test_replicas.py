"""Replicas that die, hang, lie or dawdle under a steady load: the client does not notice."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults import victims
from tests.faults.conftest import PER_S
from tests.faults.faulty import ENDLESS, ILL, SLOW, make
from tests.faults.graph import Graph
from tests.faults.load import BODY, Load
from tests.faults.results import Results

pytestmark = pytest.mark.slow

QUEUE_S = 2.0


@pytest.mark.parametrize(("how", "what"), [(victims.kill, "killed"), (victims.freeze, "hangs")])
@pytest.mark.parametrize("victim", ["Scorer", "Tokenizer", "Gateway"])
def test_a_replica_is_killed_or_hangs(
    victim: str, how: Callable[[int], None], what: str, graph: Graph, load: Load, results: Results
) -> None:
    """All of its process, as under a debugger or on a machine that swaps: it answers no health check either."""
    pid = graph.pids(victim)[0]
    with load:
        load.wait_for(10)
        how(pid)
        whole_s = graph.until_whole(without=[pid])
        load.wait_for(10)
    results.add(f"{victim} {what}", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_a_forward_pass_that_never_ends(graph: Graph, load: Load, results: Results) -> None:
    """The process answers, its device does not: the scoring loop itself says that it is ill."""
    pid = graph.pids("Scorer")[0]
    with load:
        load.wait_for(10)
        make(ENDLESS, pid, graph.faults)
        whole_s = graph.until_whole(without=[pid])
        load.wait_for(10)
    results.add("a forward pass never ends", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_a_scorer_ten_times_slower_than_the_other(graph: Graph, load: Load, results: Results) -> None:
    pids = graph.pids("Scorer")
    with load:
        load.wait_for(10)
        make(SLOW, pids[0], graph.faults)
        slowed_s = time.monotonic()
        load.wait_for(100)
    late = sorted(answer.took_s for answer in load.answers if answer.sent_s > slowed_s)
    results.add("a scorer ten times slower", load, None, f"median {late[len(late) // 2]:.1f} s")
    assert load.failed == []
    assert graph.pids("Scorer") == pids, "slow is not ill"
    assert len(load.orders) == 1


def test_a_passage_without_a_finite_score(graph: Graph, load: Load, results: Results) -> None:
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
def slowly_checked(graph: Graph) -> Iterator[Graph]:
    """Health checks as in production: every 5 s, 30 s to answer, three times before it counts."""
    checks = {"health_check_period_s": 5, "health_check_timeout_s": 30}
    graph.deploy(scorer_options=checks, admission={"queue_s": QUEUE_S})
    yield graph
    graph.deploy()


def test_a_scorer_that_hangs_long_before_serve_knows(slowly_checked: Graph, load: Load, results: Results) -> None:
    """What it holds is sent to the other one after three times the queue's length."""
    pid = slowly_checked.pids("Scorer")[0]
    with load:
        load.wait_for(10)
        victims.freeze(pid)
        whole_s = slowly_checked.until_whole(without=[pid])
        load.wait_for(10)
    results.add("Scorer hangs, production's health checks", load, whole_s, f"queue_s {QUEUE_S:g}")
    assert load.failed == []
    assert len(load.orders) == 1


@pytest.fixture
def embedded(graph: Graph) -> Iterator[Graph]:
    """A real model, whose golden scores tell whether it is well."""
    graph.deploy(engine={"threads": 1}, dtype="float32")
    yield graph
    graph.deploy()


def test_a_scorer_whose_weights_are_spoiled(embedded: Graph, results: Results) -> None:
    """It gives NaN, fails its golden scores and ends itself; the other one answers, and ranks the same."""
    pid = embedded.pids("Scorer")[0]
    with Load(embedded.url, PER_S / 3) as load:
        load.wait_for(10)
        make(ILL, pid, embedded.faults)
        whole_s = embedded.until_whole(without=[pid])
        load.wait_for(10)
    results.add("a scorer gives NaN (embedded model)", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_gateways_are_killed_with_requests_under_way(graph: Graph, results: Results) -> None:
    """Both in turn, with scorers so slow that some request is always inside."""
    for pid in graph.pids("Scorer"):
        make(SLOW, pid, graph.faults)
    with Load(graph.url, 0.7) as load:
        load.wait_for(4)
        for pid in graph.pids("Gateway"):
            victims.kill(pid)
            whole_s = graph.until_whole(without=[pid])
        load.wait_for(4)
    results.add("both gateways killed, slow requests inside", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1
