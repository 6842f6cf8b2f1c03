"""Classifies errors of calls between replicas: the request's own error, a lost replica, or a bug."""

import logging

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError

from deployments.failures import log_failure
from reranker.errors import Overloaded, RerankerError, Unavailable

log = logging.getLogger("ray.serve")

_RETRY_AFTER_S = 1.0  # for Serve's back pressure that names no time
_MAX_CAUSES = 8

# A dead process, a dead node, or a result that was kept on neither. A full object store drains within seconds.
_LOST = (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfMemoryError,
    RayActorError,
    ReplicaUnavailableError,
    WorkerCrashedError,
)


class ReplicaLost(Exception):
    """The replica or its result is gone: another replica can do the work again."""


def translate(error: Exception) -> RerankerError | ReplicaLost:
    """Turn the error of a call into one of ours. An unexpected exception is logged and becomes Unavailable."""
    if isinstance(error, BackPressureError):
        return Overloaded(error.retry_after_s or _RETRY_AFTER_S)
    cause = _unwrap(error)
    if isinstance(cause, RerankerError):
        return cause
    if _replica_was_lost(error):
        return ReplicaLost(type(cause).__name__)
    log_failure(log, "a shard failed", error)
    return Unavailable(f"scoring failed: {type(cause).__name__}")


def _unwrap(error: BaseException) -> BaseException:
    """What was raised in the replica, without Ray's wrapping."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error


def _replica_was_lost(error: BaseException | None) -> bool:
    """A lost tokenizer shows in the scorer's call as the cause of its failure."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            return False
        if isinstance(error, _LOST):
            return True
        error = getattr(error, "cause", None) or error.__cause__
    return False
