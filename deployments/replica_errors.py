"""What an error of a call between replicas means: the caller's fault, a replica that was lost, or neither."""

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
from ray.serve.exceptions import ReplicaUnavailableError

# A dead process, a dead node, or a result that neither of them kept. A full object store is soon emptied.
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


def cause_of(error: BaseException) -> BaseException:
    """What was raised in the replica, without Ray's wrapping."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error


def replica_was_lost(error: BaseException | None) -> bool:
    """A dead replica shows as itself, or as the cause of what failed for want of its result."""
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, _LOST):
            return True
        error = getattr(error, "cause", None) or error.__cause__
        seen += 1
    return False
