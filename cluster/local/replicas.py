"""Where each replica is, as Serve's controller says it.

Knows nothing of how nodes are started: an address to ask, and a picture of one moment.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.local.deployment import APPLICATION

RUNNING = "RUNNING"
_FAILED = "DEPLOY_FAILED"  # UNHEALTHY mends itself: it is what a lost replica looks like


@dataclass(frozen=True, slots=True)
class Replica:
    """address: its node's, None while it waits for one."""

    name: str
    state: str
    address: str | None
    pid: int | None

    @property
    def runs(self) -> bool:
        return self.state == RUNNING


@dataclass(frozen=True, slots=True)
class Deployment:
    """message: Serve's own words, empty when all is well."""

    status: str
    message: str
    replicas: tuple[Replica, ...]

    @property
    def running(self) -> tuple[Replica, ...]:
        return tuple(replica for replica in self.replicas if replica.runs)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """alive: addresses of nodes that Ray believes to be up. problem: why the graph cannot come up, if it cannot."""

    alive: frozenset[str]
    deployments: Mapping[str, Deployment]
    problem: str | None = None

    def __getitem__(self, name: str) -> Deployment:
        return self.deployments.get(name, Deployment("NOT_STARTED", "", ()))


@contextmanager
def connected(gcs: str, environment: Mapping[str, str]) -> Iterator[None]:
    """A driver on the head. It must be left before the head is stopped, which would end this process as well.

    Print on a console that holds its file: sys.stdout leads nowhere meanwhile.
    """
    os.environ.update(environment)
    os.environ.pop("RAY_BACKEND_LOG_LEVEL", None)  # a driver that joins says on stderr that it has read it
    import ray

    ray.init(address=gcs, log_to_driver=False, logging_level=logging.ERROR)
    # Whatever befalls a node, Ray prints at length on its drivers' stdout.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        try:
            yield
        finally:
            ray.shutdown()


def look() -> Snapshot:
    """Inside `connected`. What the dashboard's REST API answers, without the dashboard."""
    import ray
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    alive = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    try:
        client = _get_global_client()
    except RayServeException:  # no controller yet
        client = None
    details = client.get_serve_details() if client else {}
    return snapshot(alive, details)


def snapshot(alive: list[str], details: Mapping[str, Any]) -> Snapshot:
    """details: as `ray.serve.schema.ServeInstanceDetails` has it, or empty."""
    application = details.get("applications", {}).get(APPLICATION, {})
    deployments = {
        name: Deployment(_text(deployment["status"]), deployment.get("message", ""), _replicas(deployment))
        for name, deployment in application.get("deployments", {}).items()
    }
    failed = [f"{name}: {one.message}" for name, one in deployments.items() if one.status == _FAILED]
    if not failed and _text(application.get("status", "")) == _FAILED:
        failed = [application.get("message", "")]
    return Snapshot(frozenset(alive), deployments, "; ".join(failed) or None)


def _replicas(deployment: Mapping[str, Any]) -> tuple[Replica, ...]:
    return tuple(
        Replica(one["replica_id"], _text(one["state"]), one.get("node_ip"), one.get("pid"))
        for one in deployment.get("replicas", [])
    )


def _text(state: Any) -> str:
    """Serve's states are enumerations of strings."""
    return str(getattr(state, "value", state))
