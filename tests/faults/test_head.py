"""The head node is lost under a steady load, and comes back with what Redis has kept."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.local.host import free_port
from tests.cluster.batch.jobs import ROOT, ray_directory
from tests.faults.conftest import PER_S
from tests.faults.load import Load
from tests.faults.nodes import Nodes, lose
from tests.faults.results import Results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server (Debian: redis-server)"),
    pytest.mark.skipif(sys.platform != "linux", reason="several nodes on one machine need Linux"),
]

# A driver of its own: this process has another Ray already.
DEPLOY = """
import sys, ray
from pathlib import Path
from ray import serve
from tests.faults.graph import Graph
ray.init(address=sys.argv[1])
serve.start(proxy_location="EveryNode", http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
Graph("", Path(sys.argv[3])).deploy()
"""
LOOK = """
import sys, ray
from tests.faults.graph import Graph
ray.init(address=sys.argv[1])
Graph("", None).until_whole()
"""


@pytest.fixture
def redis() -> Iterator[str]:
    """Its address; it keeps nothing on disk."""
    port = free_port("127.0.0.1")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def drive(script: str, *arguments: str) -> None:
    quiet = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_head_node_is_lost_and_comes_back(redis: str, tmp_path: Path, results: Results) -> None:
    """Replicas and a proxy are on the other node: they go on without the head."""
    ports = [free_port("127.0.0.1") for _ in range(2)]
    environment = {"RAY_REDIS_ADDRESS": redis, "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(ports[1])}
    url = f"http://127.0.0.1:{ports[1]}"
    with ray_directory() as directory:
        nodes = Nodes(directory, environment)
        try:
            head = nodes.start_head(gpus=0, cpus=0)
            nodes.start_gpu_node(gpus=2, cpus=16)
            drive(DEPLOY, nodes.gcs, str(ports[0]), str(tmp_path))
            assert httpx.get(f"{url}/ready", timeout=60).status_code == 200
            with Load(url, PER_S) as load:
                load.wait_for(10)
                lose(head)
                lost_s = time.monotonic()
                load.wait_for(int(10 * PER_S))  # ten seconds without a head
                nodes.start_head(gpus=0, cpus=0)
                drive(LOOK, nodes.gcs)
                whole_s = time.monotonic() - lost_s
                load.wait_for(20)
        finally:
            nodes.stop()
    results.add("head node lost for 10 s, GCS in Redis", load, whole_s)
    assert load.failed == []
    assert len(load.orders) == 1
