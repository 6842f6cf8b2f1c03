"""`ray start`, once for the head and once for each gpu, all on this machine's loopback.

Every node has a loopback address of its own, as machines have; Ray would replace 127.0.0.1 by one that others can
reach. Its servers still listen on every interface, so the cluster has a token, without which nobody can ask them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from cluster.local import processes
from cluster.local.environment import serve_environment
from cluster.local.host import free_port
from cluster.local.state import Machines, Node, StateDirectory
from reranker.errors import Unavailable

GPU_RESOURCE = "gpu_24gb"
HEAD_ADDRESS = "127.0.0.10"
# The production file asks for 1 CPU a gateway, 1 a tokenizer and 2 a scorer. A gpu's node has room for its scorer
# and nothing else, so that gateway and tokenizer stay on the head, which is not the one that gets lost.
HEAD_CPUS = 4
CARD_CPUS = 2
_STORE_BYTES = 100 * 2**20
_START_TIMEOUT_S = 60

# The controller runs on the head, so it inherits these: it says sooner than after 30 s why a replica waits.
_ENVIRONMENT = {
    "RAY_SERVE_SLOW_STARTUP_WARNING_S": "5",
    "RAY_SERVE_SLOW_STARTUP_WARNING_PERIOD_S": "5",
}
_COMMON = ["--block", f"--object-store-memory={_STORE_BYTES}", "--dashboard-agent-listen-port=0"]


def environment(directory: StateDirectory) -> dict[str, str]:
    """Ours, with the cluster's token, and without what would lead to another cluster."""
    lead_elsewhere = ("RAY_ADDRESS", "RAY_AUTH_TOKEN")
    kept = {name: value for name, value in os.environ.items() if name not in lead_elsewhere}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(directory.token)}
    return kept | serve_environment() | _ENVIRONMENT | token


def start_head(machines: Machines, directory: StateDirectory) -> Machines:
    """Returns once nodes can join. Raises Unavailable with the end of its log when it does not come up."""
    host, _, port = machines.gcs.rpartition(":")
    command = [
        *("--head", f"--port={port}", f"--num-cpus={HEAD_CPUS}", "--num-gpus=0"),
        *("--include-dashboard=false", f"--ray-client-server-port={free_port(host)}"),
    ]
    machines, process = _start(machines, directory, "head", host, command, gpu=False)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), timeout=1).close()
            return machines
        time.sleep(0.1)
    raise Unavailable(f"Ray's head did not start; {processes.tail(directory.log('head'))}")


def start_gpu_node(machines: Machines, directory: StateDirectory) -> Machines:
    """One more gpu. Returns at once; the node joins some seconds later."""
    number = sum(node.gpu for node in machines.nodes) + 1
    resources = json.dumps({GPU_RESOURCE: 1})
    command = [
        *(f"--address={machines.gcs}", "--num-gpus=1", f"--resources={resources}"),
        *(f"--num-cpus={CARD_CPUS}", "--include-log-monitor=false"),
    ]
    address = f"127.0.0.{100 + number}"
    return _start(machines, directory, f"gpu-{number}", address, command, gpu=True)[0]


def _start(
    machines: Machines, directory: StateDirectory, name: str, address: str, options: list[str], *, gpu: bool
) -> tuple[Machines, subprocess.Popen[bytes]]:
    ray = Path(sys.executable).with_name("ray")
    command: list[str | Path] = [
        ray,
        "start",
        *options,
        *_COMMON,
        f"--node-ip-address={address}",
        f"--node-name={name}",
        f"--temp-dir={machines.ray_directory / name}",  # in one directory, nodes that start together clash over names
    ]
    process = processes.start(command, directory.log(name), environment(directory))
    node = Node(name=name, address=address, gpu=gpu, session=processes.session_of(process))
    machines = machines.model_copy(update={"nodes": (*machines.nodes, node)})
    directory.write(machines)
    return machines, process
