"""The head node is lost under a steady load, and restarts with the state that Redis kept."""

import contextlib
import math
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
from tests.faults.load import Load
from tests.faults.nodes import Nodes, kill_node
from tests.faults.results import Results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server (Debian: redis-server)"),
    pytest.mark.skipif(sys.platform != "linux", reason="several nodes on one machine need Linux"),
]

# Drivers in processes of their own: this one is connected to another cluster.
DEPLOY = """
import sys, ray
from pathlib import Path
from ray import serve
from tests.faults.graph import Graph
ray.init(address=sys.argv[1])
serve.start(proxy_location="EveryNode", http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
Graph("", Path(sys.argv[3])).deploy()
"""
WAIT_UNTIL_RUNNING = """
import sys, ray
from tests.faults.graph import Graph
ray.init(address=sys.argv[1])
Graph("", None).wait_until_running()
"""


@pytest.fixture
def redis() -> Iterator[str]:
    """The address of a Redis server that keeps nothing on disk."""
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


def run_driver(script: str, *arguments: str) -> None:
    quiet = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_no_request_fails_while_the_head_node_is_lost(redis: str, tmp_path: Path, results: Results) -> None:
    """Replicas and a proxy run on the other node, and do not need the head."""
    ports = [free_port("127.0.0.1") for _ in range(2)]
    environment = {"RAY_REDIS_ADDRESS": redis, "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(ports[1])}
    url = f"http://127.0.0.1:{ports[1]}"
    with ray_directory() as directory:
        nodes = Nodes(directory, environment)
        try:
            head = nodes.start_head(gpus=0, cpus=0)
            nodes.start_gpu_node(gpus=2, cpus=16)
            run_driver(DEPLOY, nodes.gcs, str(ports[0]), str(tmp_path))
            assert httpx.get(f"{url}/ready", timeout=60).status_code == 200
            with Load.at_half_capacity(url) as load:
                load.wait_for(10)
                kill_node(head)
                lost_s = time.monotonic()
                load.wait_for(math.ceil(10 * load.per_s))  # ten seconds without a head
                nodes.start_head(gpus=0, cpus=0)
                run_driver(WAIT_UNTIL_RUNNING, nodes.gcs)
                recovered_s = time.monotonic() - lost_s
                load.wait_for(20)
        finally:
            nodes.stop()
    results.add("head node lost for 10 s, GCS in Redis", load, recovered_s)
    assert load.failed == []
    assert len(load.orders) == 1
