"""The record of a running cluster on disk, so that another process can show or stop it.

Knows nothing of Ray: names, addresses, and the sessions of the processes that were started.
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
    """One `ray start`. address: its own loopback address. gpu: whether it has a GPU."""

    name: str
    address: str
    gpu: bool
    session: Session


class ClusterState(Settings):
    """ray_directory: Ray's own files. gcs: host:port that nodes and drivers connect to. url: Serve's HTTP address."""

    ray_directory: Path
    gcs: str
    url: str
    nodes: tuple[Node, ...] = ()


class StateDirectory:
    """One directory per user: the cluster's state, token, deployed config and model, and a log of each node."""

    def __init__(self, path: Path | None = None) -> None:
        state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        self.path = path or state_home / "dear-reranker" / "cluster"
        self._file = self.path / "machines.json"
        self.config = self.path / "serve_config.yaml"
        self.model = self.path / "small-llama"
        self.token = self.path / "token"

    def log(self, name: str) -> Path:
        return self.path / f"{name}.log"

    def read(self) -> ClusterState | None:
        """None when no cluster was started. Raises InvalidFile for a file that another version wrote."""
        try:
            return ClusterState.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise InvalidFile(
                self._file,
                "was not written by this version: stop that cluster with the version that started it, "
                "or kill its `ray start` processes and delete the file",
            ) from None

    def write(self, state: ClusterState) -> None:
        """Called after every process start, so that `down` finds all of them even if this process is killed."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file, state.model_dump_json(indent=1) + "\n")

    def write_token(self) -> None:
        """The secret that processes need to join or query the cluster. Ray's default file is world-readable."""
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32))

    def remove(self) -> None:
        """Delete this directory and Ray's files. Raises InvalidFile as `read` does."""
        if state := self.read():
            shutil.rmtree(state.ray_directory, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
