"""The simulated runs as one PNG: replicas and waits over time, a row for each trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from cluster.bench.autoscale.measure import Simulated
from cluster.bench.autoscale.simulation import Series

_COLOURS = {"ours": "#0b6e99", "default": "#d1495b", "tuned default": "#e3a32b"}
_IDEAL, _TARGET = "#c9ced6", "#444444"
_POINTS = 1_500
_RC: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e8e8e8",
    "legend.frameon": False,
}


def draw(results: Sequence[Simulated], target_queue_wait_s: float, path: Path) -> None:
    """Left: replicas paid, over the arrivals in replicas' worth (grey). Right: how long what arrives waits."""
    with matplotlib.style.context(["default", _RC]):
        figure = Figure(figsize=(12, 2.6 * len(results) + 0.5), layout="constrained", facecolor="white")
        rows = figure.subplots(len(results), 2, squeeze=False)
        for (left, right), result in zip(rows, results, strict=True):
            _replicas(left, result)
            _waits(right, result, target_queue_wait_s)
        rows[0][0].set_title("replicas running or starting", loc="left", fontsize=10)
        rows[0][1].set_title("seconds that arriving work waits", loc="left", fontsize=10)
        handles, labels = rows[0][0].get_legend_handles_labels()
        handles.append(rows[0][1].get_lines()[0])
        labels.append("target wait")
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        figure.savefig(path, dpi=130, format="png")


def _replicas(axes: Axes, result: Simulated) -> None:
    minutes, ideal = _thinned(result.ideal)
    axes.fill_between(minutes, ideal, step="post", color=_IDEAL, label="ideal: what arrives", linewidth=0)
    for name, run in reversed(result.runs.items()):
        times, paid = _thinned(run.paid)
        axes.plot(times, paid, color=_COLOURS[name], linewidth=2.0 if name == "ours" else 1.2, label=name)
    # A herd is a spike that no replica count follows: it may leave the picture.
    highest = max(float(run.paid.max()) for run in result.runs.values())
    axes.set_ylim(0, 1.08 * highest)
    axes.set_ylabel(result.trace.name, fontsize=12, fontweight="bold")
    _time_axis(axes, len(result.ideal))


def _waits(axes: Axes, result: Simulated, target_queue_wait_s: float) -> None:
    axes.axhline(target_queue_wait_s, color=_TARGET, linewidth=0.9, linestyle="dashed")
    for name, run in reversed(result.runs.items()):
        times, wait = _thinned(run.wait_s)
        axes.plot(times, wait, color=_COLOURS[name], linewidth=1.8 if name == "ours" else 1.2)
    axes.set_ylim(bottom=0)
    _time_axis(axes, len(result.ideal))


def _time_axis(axes: Axes, seconds: int) -> None:
    axes.set_xlim(0, seconds / 60)
    if seconds > 6 * 3600:
        axes.set_xticks(range(0, seconds // 60 + 1, 180))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: f"{minutes / 60:.0f}"))
        axes.set_xlabel("hours", loc="right", labelpad=-1)
    else:
        axes.set_xlabel("minutes", loc="right", labelpad=-1)


def _thinned(values: Series) -> tuple[Series, Series]:
    """Minutes, and the most of each stretch: a day has more seconds than the picture has columns."""
    stretch = max(1, len(values) // _POINTS)
    whole = len(values) // stretch * stretch
    return np.arange(0, whole, stretch) / 60, values[:whole].reshape(-1, stretch).max(axis=1)
