"""A new version goes out under a steady load: whoever asks meanwhile is answered, by the old one or the new one."""

from collections.abc import Iterator

import pytest

from tests.faults.conftest import PER_S
from tests.faults.graph import SIMULATED, WHOLE, Graph
from tests.faults.load import Load
from tests.faults.results import Results

pytestmark = pytest.mark.slow

FASTER = SIMULATED | {"simulated_tokens_per_s": 12_000.0}
ONE = WHOLE | {"Scorer": 1}


def test_new_settings_and_new_scorers_two_of_each(graph: Graph, load: Load, results: Results) -> None:
    """As new weights do: no replica keeps its process."""
    before = graph.pids("Scorer") + graph.pids("Gateway")
    with load:
        load.wait_for(10)
        graph.deploy(engine=FASTER, admission={"queue_s": 9})
        whole_s = graph.until_whole(without=before)
        load.wait_for(10)
        graph.deploy()
        load.wait_for(10)
    results.add("two updates, two replicas of each", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1


@pytest.fixture
def single(graph: Graph) -> Iterator[Graph]:
    graph.deploy(ONE, {"max_surge_percent": 100})
    yield graph
    graph.deploy()


def test_one_scorer_and_a_spare_gpu(single: Graph, results: Results) -> None:
    """With max_surge_percent the new one starts on the spare GPU, and the old one serves until it is there."""
    before = single.pids("Scorer")
    with Load(single.url, PER_S / 2) as load:
        load.wait_for(10)
        single.deploy(ONE, {"max_surge_percent": 100}, engine=FASTER)
        whole_s = single.until_whole(without=before)
        load.wait_for(10)
    results.add("update, one scorer and a spare GPU", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1
