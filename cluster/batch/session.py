"""A Ray to run on: one of our own on this machine, or a cluster that is there."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import ray
from ray.exceptions import RayError

from reranker import errors


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray of our own, or the running cluster; one that the caller has started is used and left alone.

    What goes wrong inside Ray comes out as one of our errors. Raises Unavailable when no cluster answers, and when
    Ray gives up on the work.
    """
    if ray.is_initialized():
        with _explained():
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
    except OSError as error:
        if address is None:
            raise
        raise errors.Unavailable(f"no Ray cluster answers at --address {address}: {error}") from None
    try:
        with _explained():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        raise (_ours(error) or _given_up(error)) from error


def refuse_unreachable(address: str | None) -> None:
    """Raises Unavailable when nothing listens at host:port; Ray itself would try for a quarter of an hour."""
    if address is None:
        return
    if address.startswith("ray://"):
        raise errors.Unavailable(
            f"--address {address}: the job reads its files where it runs, so it must run on a node of the cluster: "
            "log in there and use --address auto, or submit it with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise errors.Unavailable(f"no Ray cluster answers at --address {address}: {error}") from None


def _ours(error: RayError) -> errors.RerankerError | None:
    """Our own error inside what Ray wrapped around it, of which it keeps the text only."""
    lines = re.findall(rf"^{errors.__name__}\.(\w+): (.+)$", str(error), re.MULTILINE)
    if not lines:
        return None
    name, message = lines[-1]
    # The nearest class that is made from a message alone: CheckpointError itself, say, for FidelityError.
    kind = next(kind for kind in getattr(errors, name).__mro__ if "__init__" not in vars(kind))
    return cast(errors.RerankerError, kind(message))


def _given_up(error: RayError) -> errors.Unavailable:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return errors.Unavailable(
        f"Ray gave up on the work ({type(error).__name__}: {reason[:300]}). What is done is kept: go on by --resume"
    )
