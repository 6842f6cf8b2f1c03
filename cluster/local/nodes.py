"""Run `ray start` for the head and for each GPU node, all on this machine's loopback.

Each node has its own loopback address, because Ray replaces 127.0.0.1 by an address that other machines can reach.
Ray's servers still listen on every interface, so the cluster has a token, without which nobody can use them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from cluster.local import processes
from cluster.local.environment import serve_environment
from cluster.local.host import free_port
from cluster.local.state import ClusterState, Node, StateDirectory
from reranker.errors import Unavailable

GPU_RESOURCE = "gpu_24gb"
HEAD_ADDRESS = "127.0.0.10"
# serve_config.yaml asks for 1 CPU for a gateway, 1 for a tokenizer and 2 for a scorer. A GPU node has CPUs for its
# scorer alone, so that gateway and tokenizer stay on the head, which is never the node that is killed.
HEAD_CPUS = 4
GPU_NODE_CPUS = 2
_STORE_BYTES = 100 * 2**20
_START_TIMEOUT_S = 60

# Serve's controller inherits these from the head; it then says after 5 s, not 30 s, why a replica waits.
_ENVIRONMENT = {
    "RAY_SERVE_SLOW_STARTUP_WARNING_S": "5",
    "RAY_SERVE_SLOW_STARTUP_WARNING_PERIOD_S": "5",
}
_COMMON = ["--block", f"--object-store-memory={_STORE_BYTES}", "--dashboard-agent-listen-port=0"]


def environment(directory: StateDirectory) -> dict[str, str]:
    """This process's environment with the cluster's token, and without variables that point to another cluster."""
    other_cluster = ("RAY_ADDRESS", "RAY_AUTH_TOKEN")
    kept = {name: value for name, value in os.environ.items() if name not in other_cluster}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(directory.token)}
    return kept | serve_environment() | _ENVIRONMENT | token


def start_head(state: ClusterState, directory: StateDirectory) -> ClusterState:
    """Returns once nodes can join. Raises Unavailable, with the end of the log, when the head does not start."""
    host, _, port = state.gcs.rpartition(":")
    command = [
        *("--head", f"--port={port}", f"--num-cpus={HEAD_CPUS}", "--num-gpus=0"),
        *("--include-dashboard=false", f"--ray-client-server-port={free_port(host)}"),
    ]
    state, process = _start(state, directory, "head", host, command, gpu=False)
    log = directory.log("head")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if "--block" in log.read_text(errors="replace"):  # Ray prints its options once the node is up
            return state
        time.sleep(0.1)
    raise Unavailable(f"Ray's head did not start; {processes.tail(log)}")


def start_gpu_node(state: ClusterState, directory: StateDirectory) -> ClusterState:
    """Start one more node with one GPU. Returns at once; the node joins some seconds later."""
    number = sum(node.gpu for node in state.nodes) + 1
    resources = json.dumps({GPU_RESOURCE: 1})
    command = [
        *(f"--address={state.gcs}", "--num-gpus=1", f"--resources={resources}"),
        *(f"--num-cpus={GPU_NODE_CPUS}", "--include-log-monitor=false"),
    ]
    address = f"127.0.0.{100 + number}"
    return _start(state, directory, f"gpu-{number}", address, command, gpu=True)[0]


def _start(
    state: ClusterState, directory: StateDirectory, name: str, address: str, options: list[str], *, gpu: bool
) -> tuple[ClusterState, subprocess.Popen[bytes]]:
    ray = Path(sys.executable).with_name("ray")
    command: list[str | Path] = [
        ray,
        "start",
        *options,
        *_COMMON,
        f"--node-ip-address={address}",
        f"--node-name={name}",
        f"--temp-dir={state.ray_directory / name}",  # nodes that start together in one directory clash over names
    ]
    process = processes.start(command, directory.log(name), environment(directory))
    node = Node(name=name, address=address, gpu=gpu, session=processes.session_of(process))
    state = state.model_copy(update={"nodes": (*state.nodes, node)})
    directory.write(state)
    return state, process
