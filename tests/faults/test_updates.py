"""A new version is deployed under a steady load: every request is answered, by the old or by the new one."""

from collections.abc import Iterator

import pytest

from tests.faults.graph import ALL_REPLICAS, SIMULATED, Graph
from tests.faults.load import Load
from tests.faults.results import Results

pytestmark = pytest.mark.slow

FASTER = SIMULATED | {"simulated_tokens_per_s": 12_000.0}
ONE_SCORER = ALL_REPLICAS | {"Scorer": 1}


def test_no_request_fails_in_a_rolling_update_of_two_replicas_each(
    graph: Graph, load: Load, results: Results
) -> None:
    """Like an update of the weights: every replica is replaced."""
    before = graph.pids("Scorer") + graph.pids("Gateway")
    with load:
        load.wait_for(10)
        graph.deploy(engine=FASTER, admission={"queue_s": 9})
        recovered_s = graph.wait_until_running(without=before)
        load.wait_for(10)
        graph.deploy()
        load.wait_for(10)
    results.add("two updates, two replicas of each", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1


@pytest.fixture
def one_scorer(graph: Graph) -> Iterator[Graph]:
    graph.deploy(ONE_SCORER, {"max_surge_percent": 100})
    yield graph
    graph.deploy()


def test_no_request_fails_in_an_update_of_one_scorer_with_a_spare_gpu(one_scorer: Graph, results: Results) -> None:
    """With max_surge_percent the new one starts on the spare GPU, and the old one serves until it is ready."""
    before = one_scorer.pids("Scorer")
    with Load.at_half_capacity(one_scorer.url) as load:
        load.wait_for(10)
        one_scorer.deploy(ONE_SCORER, {"max_surge_percent": 100}, engine=FASTER)
        recovered_s = one_scorer.wait_until_running(without=before)
        load.wait_for(10)
    results.add("update, one scorer and a spare GPU", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1
