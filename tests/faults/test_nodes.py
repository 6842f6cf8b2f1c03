"""A machine is lost, and one's object store is full, under a steady load."""

from collections.abc import Iterator

import numpy as np
import pytest
import ray

from tests.faults.graph import WHOLE, Graph
from tests.faults.load import BODY, Load
from tests.faults.nodes import HEAD, STORE_BYTES, Nodes, lose
from tests.faults.results import Results

pytestmark = pytest.mark.slow

_PART_BYTES = 8 * 2**20


@pytest.fixture
def three(graph: Graph) -> Iterator[Graph]:
    """A third scorer, for which only the other node has a GPU."""
    graph.deploy(WHOLE | {"Scorer": 3})
    yield graph
    graph.deploy()


def test_a_worker_node_is_lost(three: Graph, nodes: Nodes, load: Load, results: Results) -> None:
    (lost,) = [replica.pid for replica in three.replicas("Scorer") if replica.address != HEAD]
    with load:
        load.wait_for(10)
        lose(nodes.sessions[-1])
        nodes.start_gpu_node()  # as whoever runs the machines would
        whole_s = three.until_whole(without=[lost or 0])
        load.wait_for(10)
    results.add("worker node lost, another joins", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_the_object_store_is_full(graph: Graph, results: Results) -> None:
    """Requests of 200 kB, which Ray hands over through the store; nothing can make room there: all is in use."""
    large = BODY | {"documents": [f"{text} " * 30 for text in BODY["documents"]]}
    with Load(graph.url, 3, large) as load:
        load.wait_for(6)
        part = np.zeros(_PART_BYTES, dtype=np.uint8)
        held = ray.get([ray.put(part) for _ in range(STORE_BYTES // _PART_BYTES + 2)])
        load.wait_for(40)
    assert sum(one.nbytes for one in held) > STORE_BYTES
    results.add("object store full", load)
    assert load.failed == []
    assert len(load.orders) == 1
