"""Errors of an actor's constructor, kept for its first call."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from reranker.errors import CheckpointError

T = TypeVar("T")


def attempt(load: Callable[[], T]) -> Future[T]:
    """Keep a CheckpointError for the first call: Ray tries an actor whose constructor fails again, and buries why."""
    loaded: Future[T] = Future()
    try:
        loaded.set_result(load())
    except CheckpointError as error:
        loaded.set_exception(error)
    return loaded
