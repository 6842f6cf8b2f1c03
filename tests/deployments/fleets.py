"""Serve's own status and context values, as the controller would report them."""

from __future__ import annotations

from ray.serve._private.common import (
    DeploymentID,
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaID,
    ReplicaState,
)
from ray.serve.context import ReplicaContext
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview, ServeStatus

APP = "app"


def context() -> ReplicaContext:
    """Of a gateway replica."""
    replica = ReplicaID("1", DeploymentID(name="Gateway", app_name=APP))
    return ReplicaContext(replica, None, None, None, 1)  # type: ignore[arg-type]


def status(
    scorers: int = 1, gateways: int = 1, scorer_status: str = "HEALTHY", message: str = "", starting: int = 0
) -> ServeStatus:
    """scorers, gateways: running replicas. starting: scorers on their way. message: Serve's, about the scorers."""
    trigger = DeploymentStatusTrigger.UNSPECIFIED
    scorer_states = {ReplicaState.RUNNING: scorers, ReplicaState.STARTING: starting}
    deployments = {
        "Gateway": DeploymentStatusOverview(DeploymentStatus.HEALTHY, trigger, {ReplicaState.RUNNING: gateways}, ""),
        "Scorer": DeploymentStatusOverview(DeploymentStatus(scorer_status), trigger, scorer_states, message),
    }
    application = ApplicationStatusOverview(ApplicationStatus.RUNNING, "", 0.0, deployments)
    return ServeStatus(applications={APP: application})
