"""`make cluster`, step by step: a replica on each gpu, a lost node, a replica too many.

Every step waits for what it promises, and says so when it does not come.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import yaml
from rich.console import Console

from cluster.local import nodes, processes
from cluster.local.client import asking
from cluster.local.deployment import PRODUCTION, SCORER, Config, deploy, differences, rewritten
from cluster.local.host import free_port
from cluster.local.model import write_small_llama
from cluster.local.replicas import Snapshot, look
from cluster.local.state import Machines, StateDirectory
from cluster.local.tables import nodes_table, print_differences, working
from reranker.errors import Unavailable

_STEP_TIMEOUT_S = 180


class Tour:
    """The cluster while it is being started. `machines` is always what is written in the state directory."""

    def __init__(self, directory: StateDirectory, console: Console, gpus: int, port: int) -> None:
        self.directory, self.console, self.gpus, self.port = directory, console, gpus, port
        self.machines = Machines(
            ray_directory=Path(tempfile.mkdtemp(prefix="rr-")),  # short: sockets live in it
            gcs=f"{nodes.HEAD_ADDRESS}:{free_port(nodes.HEAD_ADDRESS)}",
            url=f"http://127.0.0.1:{port}",
        )
        self._lost: set[str] = set()
        self.production = yaml.safe_load(PRODUCTION.read_text("utf-8"))

    def start(self) -> None:
        """Head, model and graph first; then the gpus, each of which takes a replica that waits for one."""
        self.directory.write(self.machines)
        self.directory.write_token()
        with working("starting the head, and writing a small Llama …", self.console):
            self.machines = nodes.start_head(self.machines, self.directory)
            write_small_llama(self.directory.model)
        config = self._config(self.gpus)
        print_differences(differences(self.production, config), self.console)
        with working("deploying it …", self.console):
            deploy(config, self.directory, self.machines.gcs)

    def gpu_nodes_join(self) -> None:
        """Ends with a replica on each gpu."""
        with working("gateway and tokenizer start on the head …", self.console):
            self._await(lambda now: bool(now["Gateway"].running and now["Tokenizer"].running))
        with working(f"{self.gpus} gpus join …", self.console):
            for _ in range(self.gpus):
                self.machines = nodes.start_gpu_node(self.machines, self.directory)
            self._await(lambda now: len(now[SCORER].running) == self.gpus)
            self._await_ready()
        self._show(f"{self.gpus} gpus, one replica on each")

    def lose_a_node(self) -> None:
        """While a client asks: a gpu's node is killed, another joins, and the replica moves there."""
        victim = next(node for node in self.machines.nodes if node.gpu)
        with (
            self.console.status(f"{victim.name} is killed while a client asks …"),
            asking(self.machines.url) as answers,
        ):
            _until(lambda: answers.count >= 10, "the client gets no answers")
            started = time.monotonic()
            self._lost.add(victim.name)
            killed = processes.kill([victim.session])
            self.machines = nodes.start_gpu_node(self.machines, self.directory)
            joined = self.machines.nodes[-1]
            self._await(
                lambda now: (
                    victim.address not in now.alive
                    and len(now[SCORER].running) == self.gpus
                    and any(replica.address == joined.address for replica in now[SCORER].running)
                )
            )
            moved_s, before = time.monotonic() - started, answers.count
            _until(lambda: answers.count >= before + 10, "the client gets no answers")
        self._show(f"{victim.name} lost, {joined.name} joined: the replica has moved")
        colour = "red" if answers.failures else "green"
        self.console.print(
            f"{victim.name}'s {killed} processes were killed at once; {moved_s:.0f} s later a scorer ran on "
            f"{joined.name}. Meanwhile {answers.count} requests, "
            f"[{colour}]{len(answers.failures)} failed[/{colour}], "
            f"the slowest took {answers.slowest_s:.1f} s.",
            highlight=False,
        )
        for failure in answers.failures[:3]:
            self.console.print(f"  {failure}", markup=False)

    def one_too_many(self) -> None:
        """One scorer more than there are gpus: it waits, and Serve says why. Then as many as before."""
        with working("asking for one scorer more …", self.console):
            deploy(self._config(self.gpus + 1), self.directory, self.machines.gcs)
            now = self._await(
                lambda now: len(now[SCORER].replicas) > self.gpus and "scheduled" in now[SCORER].message
            )
        self._show(f"{self.gpus + 1} replicas asked for: one waits")
        self.console.print(f"[bold]Why it waits[/bold], in Serve's words: {now[SCORER].message}\n", highlight=False)
        with working(f"asking for {self.gpus} again …", self.console):
            deploy(self._config(self.gpus), self.directory, self.machines.gcs)
            # Serve keeps one that never ran for `graceful_shutdown_timeout_s`, though it has given it up at once.
            self._await(lambda now: all(one.runs or one.state == "STOPPING" for one in now[SCORER].replicas))

    def _config(self, replicas: int) -> Config:
        return rewritten(self.production, model=self.directory.model, replicas=replicas, port=self.port)

    def _show(self, title: str) -> None:
        self.console.print()
        self.console.print(nodes_table(self.machines, look(), title))

    def _await(self, there: Callable[[Snapshot], bool]) -> Snapshot:
        """Returns what was seen. Raises Unavailable, with what Serve says, when that cannot come or time is up."""
        now = look()

        def arrived() -> bool:
            nonlocal now
            now = look()
            if now.problem:
                raise Unavailable(f"the graph did not come up: {now.problem}")
            for node in self.machines.nodes:
                if node.name not in self._lost and not processes.leads(node.session):
                    log = processes.tail(self.directory.log(node.name))
                    raise Unavailable(f"{node.name} has ended by itself; {log}")
            return there(now)

        try:
            _until(arrived, "the cluster did not get there")
        except Unavailable as error:
            states = {name: (one.status, one.message) for name, one in now.deployments.items()}
            raise Unavailable(f"{error}; nodes up: {sorted(now.alive)}; deployments: {states}") from None
        return now

    def _await_ready(self) -> None:
        def ready() -> bool:
            try:
                return httpx.get(f"{self.machines.url}/ready", timeout=10).status_code == 200
            except httpx.HTTPError:
                return False

        _until(ready, "nothing answers at /ready")


def _until(there: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _STEP_TIMEOUT_S
    while not there():
        if time.monotonic() > deadline:
            raise Unavailable(f"{otherwise} within {_STEP_TIMEOUT_S} s")
        time.sleep(0.3)
