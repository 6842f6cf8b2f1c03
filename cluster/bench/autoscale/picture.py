"""The simulated runs as a picture: replicas and waits over time, a row per trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from cluster.bench.autoscale.measure import Simulated
from cluster.bench.autoscale.simulation import Series
from cluster.bench.picture import RULE, contender_colour, dashed_line, saved_figure

_ROW_HEIGHT_IN, _LEGEND_HEIGHT_IN = 2.6, 0.5
_POINTS = 1_500


def draw(results: Sequence[Simulated], target_queue_wait_s: float, path: Path) -> None:
    """Left: paid replicas, over the ideal number in grey. Right: how long arriving work waits."""
    with saved_figure(path, _ROW_HEIGHT_IN * len(results) + _LEGEND_HEIGHT_IN) as figure:
        rows = figure.subplots(len(results), 2, squeeze=False)
        for (left, right), result in zip(rows, results, strict=True):
            _draw_replicas(left, result)
            _draw_waits(right, result, target_queue_wait_s)
        rows[0][0].set_title("replicas running or starting")
        rows[0][1].set_title("wait of arriving work, s")
        handles, labels = rows[0][0].get_legend_handles_labels()
        handles.append(rows[0][1].get_lines()[0])
        labels.append("target wait")
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _draw_replicas(axes: Axes, result: Simulated) -> None:
    minutes, ideal = _thinned(result.ideal)
    axes.fill_between(minutes, ideal, step="post", color=RULE, label="ideal", linewidth=0)
    _draw_policies(axes, {name: run.paid for name, run in result.runs.items()})
    # The spikes of a herd, which no replica count follows, may be cut off.
    highest = max(float(run.paid.max()) for run in result.runs.values())
    axes.set_ylim(0, 1.08 * highest)
    axes.set_ylabel(result.trace.name, fontsize=12, fontweight="bold")


def _draw_waits(axes: Axes, result: Simulated, target_queue_wait_s: float) -> None:
    dashed_line(axes, target_queue_wait_s)
    _draw_policies(axes, {name: run.wait_s for name, run in result.runs.items()})
    axes.set_ylim(bottom=0)


def _draw_policies(axes: Axes, series: dict[str, Series]) -> None:
    """Lines over time; the first, which is our policy, lies on top."""
    for place, (name, values) in reversed(list(enumerate(series.items()))):
        minutes, thinned = _thinned(values)
        axes.plot(minutes, thinned, color=contender_colour(place), linewidth=1.2 if place else 2.0, label=name)
    _use_time_axis(axes, seconds=len(next(iter(series.values()))))


def _use_time_axis(axes: Axes, seconds: int) -> None:
    axes.set_xlim(0, seconds / 60)
    if seconds > 6 * 3600:
        axes.set_xticks(range(0, seconds // 60 + 1, 180))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: f"{minutes / 60:.0f}"))
        axes.set_xlabel("hours", loc="right", labelpad=-1)
    else:
        axes.set_xlabel("minutes", loc="right", labelpad=-1)


def _thinned(values: Series) -> tuple[Series, Series]:
    """Minutes, and the maximum of each interval: a day has more seconds than the picture has columns."""
    interval = max(1, len(values) // _POINTS)
    whole = len(values) // interval * interval
    return np.arange(0, whole, interval) / 60, values[:whole].reshape(-1, interval).max(axis=1)
