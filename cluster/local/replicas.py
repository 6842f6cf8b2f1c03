"""Where each replica runs, according to Serve's controller.

Knows nothing of how nodes are started: it connects to an address and takes a snapshot.
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
_FAILED = "DEPLOY_FAILED"  # not UNHEALTHY: a lost replica causes that, and Serve recovers from it


@dataclass(frozen=True, slots=True)
class Replica:
    """address: that of its node; None while it waits for one."""

    name: str
    state: str
    address: str | None
    pid: int | None

    @property
    def is_running(self) -> bool:
        return self.state == RUNNING


@dataclass(frozen=True, slots=True)
class Deployment:
    """message: Serve's explanation, empty when there is nothing to explain."""

    status: str
    message: str
    replicas: tuple[Replica, ...]

    @property
    def running(self) -> tuple[Replica, ...]:
        return tuple(replica for replica in self.replicas if replica.is_running)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """alive: addresses of the nodes that Ray reports alive. problem: why the deployment failed, if it did."""

    alive: frozenset[str]
    deployments: Mapping[str, Deployment]
    problem: str | None = None

    def __getitem__(self, name: str) -> Deployment:
        return self.deployments.get(name, Deployment("NOT_STARTED", "", ()))


@contextmanager
def connected(gcs: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Connect this process as a driver. Exit before the head stops: Ray kills the drivers of a lost head.

    Print to a console that was given its file: sys.stdout goes to /dev/null meanwhile.
    """
    os.environ.update(environment)
    os.environ.pop("RAY_BACKEND_LOG_LEVEL", None)  # a driver that connects would report it on stderr
    import ray

    ray.init(address=gcs, log_to_driver=False, logging_level=logging.ERROR)
    # When a node is lost, Ray prints pages to the stdout of every driver.
    with Path(os.devnull).open("w") as devnull, redirect_stdout(devnull):
        try:
            yield
        finally:
            ray.shutdown()


def take_snapshot() -> Snapshot:
    """What the dashboard's REST API would report, without the dashboard. Call it inside `connected`."""
    import ray
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    alive = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    try:
        client = _get_global_client()
    except RayServeException:  # no controller yet
        client = None
    details = client.get_serve_details() if client else {}
    return parse_snapshot(alive, details)


def parse_snapshot(alive: list[str], details: Mapping[str, Any]) -> Snapshot:
    """details: the fields of `ray.serve.schema.ServeInstanceDetails`, or empty."""
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
    """Serve's states are enums in memory and strings in JSON."""
    return str(getattr(state, "value", state))
