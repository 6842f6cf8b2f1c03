"""Errors of an actor's constructor, deferred to its first call."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from reranker.errors import CheckpointError

T = TypeVar("T")


def attempt(load: Callable[[], T]) -> Future[T]:
    """Load now, but raise a CheckpointError only from `result()`.

    If the constructor raised it, Ray would restart the actor and hide the reason.
    """
    loaded: Future[T] = Future()
    try:
        loaded.set_result(load())
    except CheckpointError as error:
        loaded.set_exception(error)
    return loaded
