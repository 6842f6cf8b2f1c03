"""One Ray for all of these tests: a head with two GPUs, a node with a third, and the graph on it."""

import logging
import os
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

PER_S = float(os.environ.get("RERANKER_FAULTS_PER_S", "5"))
RESULTS = Results()


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    if sys.platform != "linux":
        pytest.skip("several nodes on one machine need Linux")
    if ray.is_initialized():
        pytest.skip("another test's Ray is in use in this process: run `pytest -m slow tests/faults` by itself")
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
def usual(deployed: Graph) -> Graph:
    deployed.deploy()
    return deployed


@pytest.fixture
def graph(usual: Graph) -> Iterator[Graph]:
    """Whole at the start; what a test has made faulty is well again at its end."""
    usual.until_whole()
    yield usual
    shutil.rmtree(usual.faults)
    usual.faults.mkdir()


@pytest.fixture
def head(nodes: Nodes) -> Session:
    return nodes.sessions[0]


@pytest.fixture
def results() -> Results:
    return RESULTS


@pytest.fixture
def load(graph: Graph) -> Load:
    """Not started yet."""
    return Load(graph.url, PER_S)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if RESULTS:
        terminalreporter.section(f"faults under {PER_S:g} requests a second")
        for result in RESULTS:
            terminalreporter.write_line(str(result))
