"""One Ray cluster for all of these tests: a head with two GPUs, a node with a third, and the graph on them."""

import logging
import shutil
import sys
from collections.abc import Iterator

import pytest
import ray
from ray import serve

from cluster.local.host import free_port
from cluster.local.processes import Session
from tests.cluster.batch.jobs import ray_directory
from tests.faults.graph import Graph
from tests.faults.load import Load
from tests.faults.nodes import Nodes
from tests.faults.results import Results

RESULTS = Results()


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    if sys.platform != "linux":
        pytest.skip("several nodes on one machine need Linux")
    if ray.is_initialized():
        pytest.skip("this process already uses another Ray cluster: run `pytest -m slow tests/faults` by itself")
    with ray_directory() as directory:
        nodes = Nodes(directory)
        try:
            nodes.start_head(gpus=2)
            nodes.start_gpu_node()
            ray.init(address=nodes.gcs, log_to_driver=False, logging_level=logging.ERROR)
            yield nodes
        finally:
            ray.shutdown()
            nodes.stop()


@pytest.fixture(scope="session")
def deployed(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    port = free_port("127.0.0.1")
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    yield Graph(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("faults"))
    serve.shutdown()


@pytest.fixture(scope="session")
def default_graph(deployed: Graph) -> Graph:
    deployed.deploy()
    return deployed


@pytest.fixture
def graph(default_graph: Graph) -> Iterator[Graph]:
    """All replicas run at the start of a test; the faults it injects end with it."""
    default_graph.wait_until_running()
    yield default_graph
    shutil.rmtree(default_graph.faults)
    default_graph.faults.mkdir()


@pytest.fixture
def head(nodes: Nodes) -> Session:
    return nodes.sessions[0]


@pytest.fixture
def results() -> Results:
    return RESULTS


@pytest.fixture
def load(graph: Graph) -> Load:
    """At half the capacity of one scorer. Not started yet."""
    return Load.at_half_capacity(graph.url)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if RESULTS:
        terminalreporter.section("faults under a steady load")
        for result in RESULTS:
            terminalreporter.write_line(str(result))
