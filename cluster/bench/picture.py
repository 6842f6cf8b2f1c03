"""How pictures of figures look: colours, axes and saving. Knows nothing of any single benchmark. Loads matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK, RULE, GREY = "#22303c", "#d5dbe0", "#5b6b78"
GREEN, ORANGE, RED = "#1b7f5c", "#d98324", "#b3263e"
_CONTENDERS = ("#2b6cb0", "#c05621", "#6b46c1", "#2f855a", "#b83280")
_PALE = ("#a3c2e3", "#e6ad8e", "#bfa9e3", "#9fcbb2", "#e2a9ca")  # the same hues
_WIDTH_IN, _DPI = 12.0, 130
_MIN_BARS = 4  # room for as many, so that a single bar does not fill the panel
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@contextmanager
def saved_figure(path: Path, height_in: float) -> Iterator[Figure]:
    """A figure in our style, whatever the local matplotlibrc says; saved as PNG at the end of the `with` block."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained", facecolor="white")
        yield figure
        figure.savefig(path, format="png", dpi=_DPI)


def save_rows(path: Path, row_height_in: float, rows: Mapping[str, Callable[[SubFigure], None]]) -> None:
    """One picture with a titled row for each drawing function."""
    with saved_figure(path, row_height_in * max(1, len(rows))) as figure:
        parts = figure.subfigures(max(1, len(rows)), 1, squeeze=False)[:, 0]
        for part, (title, draw) in zip(parts, rows.items(), strict=False):
            part.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
            draw(part)


def contender_colour(place: int, *, pale: bool = False) -> str:
    """place: of the contender, from 0."""
    colours = _PALE if pale else _CONTENDERS
    return colours[place % len(colours)]


def draw_bars(axes: Axes, labels: Sequence[str], values: Sequence[float], colours: Sequence[str]) -> None:
    """Horizontal bars, the first on top."""
    bars = axes.barh(range(len(values)), values, color=colours, height=0.6)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(max(len(values), _MIN_BARS) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)


def dashed_line(axes: Axes, y: float, *, colour: str = INK, label: str | None = None) -> None:
    axes.axhline(y, color=colour, linewidth=1, linestyle="dashed", label=label)


def use_log_scale(axes: Axes) -> None:
    """A logarithmic y axis whose ticks are plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
