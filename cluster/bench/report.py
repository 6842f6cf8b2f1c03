"""How figures are shown: tables, cells, medians over rounds. Knows nothing of any single benchmark.

A figure that is None, because it could not be measured, is an empty cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Figures = dict[str, Any]


def print_table(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, labels: int = 1
) -> None:
    """labels: how many leading columns are text and left-aligned. A row may end early."""
    table = Table(title=escape(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if number < labels else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def print_machine(console: Console, machine: Figures) -> None:
    """machine: of `machine_facts`."""
    memory, packages = f"{machine['memory_bytes'] / 1e9:.0f} GB", machine["packages"]
    line = f"{machine['cpu']}, {machine['cores']} cores, {memory}, device {machine['device']}, "
    console.print(f"measured on: {line}torch {packages['torch']}", markup=False)


def shown(value: float | None, form: str, factor: float = 1.0, unit: str = "") -> str:
    return "" if value is None else f"{value * factor:{form}}{unit}"


def in_ms(seconds: float | None) -> str:
    return shown(seconds, ".1f", 1e3)


def in_s(seconds: float | None) -> str:
    return shown(seconds, ".3f")


def in_mb(size_bytes: float | None) -> str:
    return shown(size_bytes, ".1f", 1e-6)


def percent(share: float | None) -> str:
    return shown(share, ".1%")


def times(ratio: float | None) -> str:
    return shown(ratio, ".2f", unit=" x")


def counts(number_of: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {number:,}" for name, number in number_of.items())


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each key over rounds; a round without the key counts as 0."""
    keys = dict.fromkeys(key for one in rounds for key in one)
    return {key: median(one.get(key, 0.0) for one in rounds) for key in keys}


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the ratios within each round; None without rounds. Both of one round meet the same noise."""
    return median(one / other for one, other in zip(ours, theirs, strict=True)) if theirs else None
