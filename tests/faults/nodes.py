"""A Ray cluster for these tests: a head and nodes, each in its own session and on its own loopback address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.local import processes
from cluster.local.environment import haproxy_environment, serve_environment
from cluster.local.host import free_port
from cluster.local.processes import Session
from tests.cluster.batch.jobs import wait_until

STORE_BYTES = 80 * 2**20  # Ray's minimum is 75 MB
HEAD, GPU_RESOURCE = "127.0.0.20", "gpu_test"
ENVIRONMENT = serve_environment() | {
    # Otherwise a head would require its user's token, if there is one; this process read its own mode at import.
    "RAY_AUTH_MODE": "disabled",
}
HAPROXY = os.environ.get("RERANKER_TEST_INGRESS") == "haproxy"
if HAPROXY:
    ENVIRONMENT |= haproxy_environment()


class Nodes:
    """directory: a short path for Ray's files. environment: added to ENVIRONMENT for every process."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        other_cluster = ("RAY_ADDRESS", "RAY_AUTH_TOKEN")
        kept = {name: value for name, value in os.environ.items() if name not in other_cluster}
        self._environment = kept | ENVIRONMENT | dict(environment or {})
        self.sessions: list[Session] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self.port = free_port(HEAD)
        self.gcs = f"{HEAD}:{self.port}"

    def start_head(self, gpus: int, cpus: int = 16) -> Session:
        """Returns when nodes can join it."""
        return self._start(
            HEAD,
            *("--head", f"--port={self.port}", f"--num-cpus={cpus}", f'--resources={{"{GPU_RESOURCE}": {gpus}}}'),
            *("--include-dashboard=false", f"--ray-client-server-port={free_port(HEAD)}"),
        )

    def start_gpu_node(self, gpus: int = 1, cpus: int = 1) -> Session:
        """By default a node with one GPU, and CPUs for its scorer only."""
        address = f"127.0.0.{111 + self._started}"
        resources = f"--resources={json.dumps({GPU_RESOURCE: gpus})}"
        return self._start(
            address, f"--address={self.gcs}", f"--num-cpus={cpus}", resources, "--include-log-monitor=false"
        )

    def stop(self) -> None:
        processes.kill(self.sessions)
        for process in self._processes:
            process.wait()

    def _start(self, address: str, *options: str) -> Session:
        name = f"node-{self._started}"
        self._started += 1
        log = self._directory / f"{name}.log"
        ray = Path(sys.executable).with_name("ray")
        command: list[str | Path] = [
            ray,
            *("start", "--block", *options, f"--object-store-memory={STORE_BYTES}", "--num-gpus=0"),
            *("--dashboard-agent-listen-port=0", f"--node-ip-address={address}", f"--node-name={name}"),
            f"--temp-dir={self._directory / name}",
        ]
        process = processes.start(command, log, self._environment)
        session = processes.session_of(process)
        self.sessions.append(session)
        self._processes.append(process)
        if not wait_until(lambda: "--block" in log.read_text(errors="replace"), process, pause_s=0.1):
            raise RuntimeError(f"{name} did not start; {processes.tail(log)}")
        return session


def kill_node(session: Session) -> None:
    """Kill all processes of a node at once, as a power cut does."""
    processes.kill([session])
