"""The steps of `make cluster`: a replica on each GPU, a lost node, and one replica more than there are GPUs.

Each step waits until the cluster is in the state that it shows, and fails with Serve's explanation otherwise.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console

from cluster.configs import PRODUCTION
from cluster.local import nodes, processes
from cluster.local.client import background_requests, is_ready
from cluster.local.deployment import SCORER, Config, deploy, differences, local_config
from cluster.local.host import free_port
from cluster.local.model import write_small_llama
from cluster.local.replicas import Snapshot, take_snapshot
from cluster.local.state import ClusterState, StateDirectory
from cluster.local.tables import nodes_table, print_differences, spinner
from reranker.errors import Unavailable

_STEP_TIMEOUT_S = 180


class Walkthrough:
    """Starts a cluster step by step. `state` always equals what is written in the state directory."""

    def __init__(self, directory: StateDirectory, console: Console, gpus: int, port: int) -> None:
        self.directory, self.console, self.gpus, self.port = directory, console, gpus, port
        self.state = ClusterState(
            ray_directory=Path(tempfile.mkdtemp(prefix="rr-")),  # short: Ray's socket paths are limited in length
            gcs=f"{nodes.HEAD_ADDRESS}:{free_port(nodes.HEAD_ADDRESS)}",
            url=f"http://127.0.0.1:{port}",
        )
        self._lost: set[str] = set()
        self.production = yaml.safe_load(PRODUCTION.read_text("utf-8"))

    def start(self) -> None:
        """Start the head and deploy the graph; its scorers wait for the GPU nodes."""
        self.directory.write(self.state)
        self.directory.write_token()
        with spinner("starting the head, writing a small Llama …", self.console):
            self.state = nodes.start_head(self.state, self.directory)
            write_small_llama(self.directory.model)
        config = self._config(self.gpus)
        print_differences(differences(self.production, config), self.console)
        with spinner("deploying …", self.console):
            deploy(config, self.directory, self.state.gcs)

    def add_gpu_nodes(self) -> None:
        """Start the GPU nodes and wait until each runs a replica."""
        with spinner("starting gateway and tokenizer on the head …", self.console):
            self._await(lambda now: bool(now["Gateway"].running and now["Tokenizer"].running))
        with spinner(f"starting {self.gpus} GPU nodes …", self.console):
            for _ in range(self.gpus):
                self.state = nodes.start_gpu_node(self.state, self.directory)
            self._await(lambda now: len(now[SCORER].running) == self.gpus)
            self._await_ready()
        self._show(f"{self.gpus} GPU nodes, one replica on each")

    def lose_node(self) -> None:
        """Kill a GPU node under load, start another, and wait until the replica runs there."""
        victim = next(node for node in self.state.nodes if node.gpu)
        with (
            self.console.status(f"killing {victim.name} while a client sends requests …"),
            background_requests(self.state.url) as requests,
        ):
            _wait_until(lambda: requests.count >= 10, "the client did not get 10 responses")
            started = time.monotonic()
            self._lost.add(victim.name)
            killed = processes.kill([victim.session])
            self.state = nodes.start_gpu_node(self.state, self.directory)
            joined = self.state.nodes[-1]
            self._await(
                lambda now: (
                    victim.address not in now.alive
                    and len(now[SCORER].running) == self.gpus
                    and any(replica.address == joined.address for replica in now[SCORER].running)
                )
            )
            moved_s, before = time.monotonic() - started, requests.count
            _wait_until(lambda: requests.count >= before + 10, "the client did not get 10 responses")
        self._show(f"{victim.name} lost, {joined.name} added: its replica moved there")
        colour = "red" if requests.failures else "green"
        self.console.print(
            f"All {killed} processes of {victim.name} were killed; {moved_s:.0f} s later a scorer ran on "
            f"{joined.name}. The client sent {requests.count} requests, "
            f"[{colour}]{len(requests.failures)} failed[/{colour}], "
            f"the slowest took {requests.slowest_s:.1f} s.",
            highlight=False,
        )
        for failure in requests.failures[:3]:
            self.console.print(f"  {failure}", markup=False)

    def request_extra_replica(self) -> None:
        """Ask for one scorer more than there are GPUs, show why Serve keeps it waiting, and ask for fewer again."""
        with spinner(f"asking for {self.gpus + 1} scorers …", self.console):
            deploy(self._config(self.gpus + 1), self.directory, self.state.gcs)
            now = self._await(
                lambda now: len(now[SCORER].replicas) > self.gpus and "scheduled" in now[SCORER].message
            )
        self._show(f"{self.gpus + 1} scorers requested for {self.gpus} GPUs: one waits")
        self.console.print(f"[bold]Serve's reason:[/bold] {now[SCORER].message}\n", highlight=False)
        with spinner(f"asking for {self.gpus} scorers again …", self.console):
            deploy(self._config(self.gpus), self.directory, self.state.gcs)
            # Serve lists the cancelled replica as STOPPING for `graceful_shutdown_timeout_s`, although it never ran.
            self._await(lambda now: all(one.is_running or one.state == "STOPPING" for one in now[SCORER].replicas))

    def _config(self, replicas: int) -> Config:
        return local_config(self.production, model=self.directory.model, replicas=replicas, port=self.port)

    def _show(self, title: str) -> None:
        self.console.print()
        self.console.print(nodes_table(self.state, take_snapshot(), title))

    def _await(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """Return the snapshot that meets the condition.

        Raises Unavailable, with what Serve reports, when the deployment fails, a node exits or time runs out.
        """
        now = take_snapshot()

        def is_met() -> bool:
            nonlocal now
            now = take_snapshot()
            if now.problem:
                raise Unavailable(f"the deployment failed: {now.problem}")
            for node in self.state.nodes:
                if node.name not in self._lost and not processes.is_leader_alive(node.session):
                    log = processes.tail(self.directory.log(node.name))
                    raise Unavailable(f"{node.name} exited unexpectedly; {log}")
            return condition(now)

        try:
            _wait_until(is_met, "the cluster was not ready for the next step")
        except Unavailable as error:
            states = {name: (one.status, one.message) for name, one in now.deployments.items()}
            raise Unavailable(f"{error}; nodes up: {sorted(now.alive)}; deployments: {states}") from None
        return now

    def _await_ready(self) -> None:
        _wait_until(lambda: is_ready(self.state.url), "/ready did not return 200")


def _wait_until(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _STEP_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{problem} within {_STEP_TIMEOUT_S} s")
        time.sleep(0.3)
