"""Which column of a file is which, whatever the case of its name and whichever of its usual names it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_BETWEEN_WORDS = re.compile(r"[\s-]+")
_SHOWN_NAMES = 20


class Column(NamedTuple):
    """A column that a reader knows.

    name: what the reader calls it. names: what files call it, best first; names that are equally good stand in one
    string, separated by spaces, and a file may have only one of them. needed: a file without it is refused.
    """

    name: str
    names: tuple[str, ...]
    needed: bool = True


def spelled(name: str) -> str:
    """`Query-ID` -> `query_id`."""
    return _BETWEEN_WORDS.sub("_", name.strip().lower())


class Columns:
    """The columns of one kind of table."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rank = {
            name: (column.name, rank)
            for column in columns
            for rank, names in enumerate(column.names)
            for name in names.split()
        }

    def count_known(self, names: Iterable[str]) -> int:
        return sum(spelled(name) in self._rank for name in names)

    @property
    def header(self) -> str:
        """The needed columns, as a header for people to write: `_id, text`."""
        return ", ".join(column.name for column in self._columns if column.needed)

    def find(self, names: Sequence[str]) -> dict[str, str]:
        """Name in the file -> name of the column. Raises ValueError when one is missing or not certain."""
        best: dict[str, tuple[int, list[str]]] = {}
        for name in names:
            column, rank = self._rank.get(spelled(name), ("", 0))
            if column:
                found = best.get(column)
                if found is None or rank < found[0]:
                    best[column] = (rank, [name])
                elif rank == found[0]:
                    found[1].append(name)
        for column, (_, candidates) in best.items():
            if len(candidates) > 1:
                listed = " and ".join(map(repr, candidates))
                raise ValueError(f"has {listed}, and only one can be the `{column}`: leave the other out")
        for known in self._columns:
            if known.needed and known.name not in best:
                usual = " or ".join(f"`{name}`" for names in known.names for name in names.split())
                raise ValueError(f"has no {usual}; these columns are there: {_listed(names)}")
        return {candidates[0]: column for column, (_, candidates) in best.items()}


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name)[:60] for name in names[:_SHOWN_NAMES])
    return (f"{shown}, …" if len(names) > _SHOWN_NAMES else shown) or "none"
