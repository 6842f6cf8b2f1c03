"""What every client must find: one query, its documents, their order and the range of their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pytest

QUERY = "Why does high tide come later each day?"
DOCUMENTS = [
    "Tide is an American brand of laundry detergent, sold since 1946 as powder, liquid and pods.",
    "High tide comes about 50 minutes later each day, because the Moon moves along its orbit while the Earth turns.",
    "The Crimson Tide is the name of the teams of the University of Alabama.",
    "A tide table lists the times and heights of high and low water at a harbour for every day of the year.",
]
BEST_FIRST = [1, 3, 0, 2]
MODEL, KEY = "embedded", "any-key"


class Hit(NamedTuple):
    """index: into DOCUMENTS."""

    index: int
    score: float


Client = Callable[[str], Sequence[Hit]]
"""Given the endpoint's address without a slash at its end; returns hits best first."""


def by_text(hits: Sequence[tuple[str, float]]) -> list[Hit]:
    """For clients that give documents back instead of positions."""
    return [Hit(DOCUMENTS.index(text), score) for text, score in hits]


def check(hits: Sequence[Hit], *, logits: bool = False) -> None:
    assert [hit.index for hit in hits] == BEST_FIRST[: len(hits)]
    assert len(hits) >= 2
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    if logits:
        assert scores[0] > 1 or min(scores) < 0
    else:
        assert 0 < min(scores) < 0.5 < max(scores) < 1


def table(clients: Mapping[str, Client]) -> pytest.MarkDecorator:
    """A test for each row: its name is the client's."""
    return pytest.mark.parametrize("client", list(clients.values()), ids=list(clients))
