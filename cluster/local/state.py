"""What is remembered of a running cluster, so that another process can show or stop it.

Knows nothing of Ray: names, addresses and the processes that were started.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from pydantic import ValidationError

from cluster.local.processes import Session
from reranker.errors import InvalidFile
from reranker.files import write_atomically
from reranker.settings import Settings


class Node(Settings):
    """One `ray start`. address: a loopback address of its own, as each machine has one. gpu: whether it has one."""

    name: str
    address: str
    gpu: bool
    session: Session


class Machines(Settings):
    """ray_directory: Ray's own files. gcs: host:port that nodes and drivers join by. url: where Serve answers."""

    ray_directory: Path
    gcs: str
    url: str
    nodes: tuple[Node, ...] = ()

    def node_at(self, address: str | None) -> str | None:
        """The newest node's name at that address."""
        return next((node.name for node in reversed(self.nodes) if node.address == address), None)


class StateDirectory:
    """One directory a user: the state itself, the config as deployed, the model, and what each node has printed."""

    def __init__(self, path: Path | None = None) -> None:
        state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        self.path = path or state_home / "dear-reranker" / "cluster"
        self._file = self.path / "machines.json"
        self.config = self.path / "serve_config.yaml"
        self.model = self.path / "small-llama"
        self.token = self.path / "token"

    def log(self, name: str) -> Path:
        return self.path / f"{name}.log"

    def read(self) -> Machines | None:
        """None where no cluster was started, or none has come far enough to have processes. Raises InvalidFile."""
        try:
            return Machines.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            problem = f"is not what this version wrote ({error.errors()[0]['msg']}): end the processes, remove it"
            raise InvalidFile(self._file, problem) from None

    def write(self, machines: Machines) -> None:
        """After every start, so that `down` finds it whatever ends us."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file, machines.model_dump_json(indent=1) + "\n")

    def write_token(self) -> None:
        """What a process must know to join or to ask; Ray's own is readable by every user of the machine."""
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))

    def remove(self) -> None:
        """Ray's files as well."""
        if machines := self.read():
            shutil.rmtree(machines.ray_directory, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
