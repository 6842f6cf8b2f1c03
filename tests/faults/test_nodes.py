"""A node is lost, or its object store is full, under a steady load."""

from collections.abc import Iterator

import numpy as np
import pytest
import ray

from tests.faults.graph import ALL_REPLICAS, Graph
from tests.faults.load import BODY, Load
from tests.faults.nodes import HEAD, STORE_BYTES, Nodes, kill_node
from tests.faults.results import Results

pytestmark = pytest.mark.slow

_PART_BYTES = 8 * 2**20


@pytest.fixture
def three_scorers(graph: Graph) -> Iterator[Graph]:
    """The third scorer runs on the other node, which has the only free GPU."""
    graph.deploy(ALL_REPLICAS | {"Scorer": 3})
    yield graph
    graph.deploy()


def test_no_request_fails_when_a_worker_node_is_lost(
    three_scorers: Graph, nodes: Nodes, load: Load, results: Results
) -> None:
    (lost,) = [replica.pid for replica in three_scorers.replicas("Scorer") if replica.address != HEAD]
    with load:
        load.wait_for(10)
        kill_node(nodes.sessions[-1])
        nodes.start_gpu_node()  # as a node autoscaler would
        recovered_s = three_scorers.wait_until_running(without=[lost or 0])
        load.wait_for(10)
    results.add("worker node lost, another joins", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1


def test_no_request_fails_when_the_object_store_is_full(graph: Graph, results: Results) -> None:
    """Requests of 200 kB, which Ray passes through the store; nothing in it can be evicted: all is in use."""
    large = BODY | {"documents": [f"{text} " * 30 for text in BODY["documents"]]}
    with Load.at_half_capacity(graph.url, body=large) as load:
        load.wait_for(6)
        part = np.zeros(_PART_BYTES, dtype=np.uint8)
        pinned = ray.get([ray.put(part) for _ in range(STORE_BYTES // _PART_BYTES + 2)])
        load.wait_for(40)
    assert sum(one.nbytes for one in pinned) > STORE_BYTES
    results.add("object store full", load)
    assert load.failed == []
    assert len(load.orders) == 1
