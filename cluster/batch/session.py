"""The Ray session of a job: started on this machine, or connected to a running cluster."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

import ray
from ray.exceptions import RayError

from reranker import errors


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Start Ray here, or connect to the cluster at `address`. A session that the caller has started is used as it is.

    Raises our own error if that is what failed inside Ray, else Unavailable: Ray cannot be started, no cluster
    answers, or Ray has failed.
    """
    if ray.is_initialized():
        with _translated_errors():
            yield
        return
    refuse_unreachable(address)
    try:
        ray.init(
            address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises many classes, for a start that times out a plain Exception
        with suppress(Exception):
            ray.shutdown()  # ends the processes that were started
        raise _start_failure(address, error) from error
    try:
        with _translated_errors():
            yield
    finally:
        # On a busy machine Ray's own daemons may be gone first: that must not hide how the job ended.
        with suppress(RayError):
            ray.shutdown()


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        raise (_own_error(error) or _ray_failure(error)) from error


def refuse_unreachable(address: str | None) -> None:
    """Raises Unavailable if nothing listens at host:port, for which Ray itself would retry for 15 minutes."""
    if address is None:
        return
    if address.startswith("ray://"):
        raise errors.Unavailable(
            f"--address {address}: the job reads local files, so it must run on a node of the cluster: log in there "
            "and use --address auto, or submit it with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, OverflowError, UnicodeError) as error:  # also: no such port, no such name
            raise errors.Unavailable(f"no Ray cluster answers at --address {address}: {error}") from None


def _own_error(error: RayError) -> errors.RerankerError | None:
    """The error of ours that Ray has wrapped, rebuilt from the traceback's text, which is all that Ray keeps."""
    lines = re.findall(rf"^{errors.__name__}\.(\w+): (.+)$", str(error), re.MULTILINE)
    if not lines:
        return None
    name, message = lines[-1]
    # Its nearest base that takes a message alone: subclasses may have arguments that the text does not give.
    kind = next(kind for kind in getattr(errors, name).__mro__ if "__init__" not in vars(kind))
    return cast(errors.RerankerError, kind(message))


def _start_failure(address: str | None, error: Exception) -> errors.Unavailable:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if address is not None:
        return errors.Unavailable(
            f"no Ray cluster answers at --address {address} ({reason}): check with `ray status` on this machine that "
            "it runs, and that it has this machine's versions of Ray and Python"
        )
    return errors.Unavailable(
        f"Ray could not be started on this machine ({reason}): check that memory is free, that the disk of "
        "RAY_TMPDIR (by default /tmp; Ray's logs are there) has room, and that no process of an earlier job is left; "
        "then give the command again with --resume"
    )


def _ray_failure(error: RayError) -> errors.Unavailable:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return errors.Unavailable(
        f"Ray gave up on the job ({type(error).__name__}: {reason[:300]}). Finished units are kept: continue with "
        "--resume"
    )
