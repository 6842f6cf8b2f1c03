"""Async tests run on asyncio, as Serve does; tests of the graph share one Ray cluster."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
import ray
from ray import serve

from cluster.local.host import free_port


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A Ray cluster of our own, with Serve's HTTP on a free loopback port; yields the base URL."""
    port = free_port("127.0.0.1")
    scratch = tempfile.mkdtemp(prefix="rr-")  # short: Ray puts Unix sockets there, whose paths are limited
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, _temp_dir=scratch, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()
    shutil.rmtree(scratch, ignore_errors=True)
