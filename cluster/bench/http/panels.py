"""Panels of the picture that several scenarios share, and CPU time by role on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from rich.console import Console

from cluster.bench.http import figures
from cluster.bench.http.records import TOO_MANY, Row
from cluster.bench.picture import GREEN, ORANGE, RED, contender_colour, dashed_line, use_log_scale
from cluster.bench.report import Figures, in_ms

_SHOWN_ROLES = 7


def draw_tail(axes: Axes, rows: Mapping[str, Sequence[Row]], unit: str, factor: float) -> None:
    """The share of answers that took longer than a time, logarithmic so that the tail is visible."""
    for place, (name, some) in enumerate(rows.items()):
        if (values := np.sort(figures.latencies(some))).size:
            beyond = 1 - np.arange(values.size) / values.size
            axes.step(values * factor, beyond, where="post", color=contender_colour(place), linewidth=1.6, label=name)
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_yticks([1, 0.5, 0.1, 0.05, 0.01], ["100 %", "50 %", "10 %", "5 %", "1 %"])
    axes.minorticks_off()
    axes.set_xlabel(f"latency, {unit}")
    axes.set_title("share of answers that took longer")
    if axes.lines:
        axes.legend(loc="lower left")


def by_answer(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """(label, colour, rows) of the accepted, the refused and the failed requests."""
    return [
        ("accepted", GREEN, [row for row in rows if row.accepted]),
        ("429", ORANGE, [row for row in rows if row.status == TOO_MANY]),
        ("failed", RED, [row for row in rows if not row.accepted and row.status != TOO_MANY]),
    ]


def draw_latencies(axes: Axes, rows: Sequence[Row], deadline_s: float | None = None) -> None:
    for label, colour, some in by_answer(rows):
        if some:
            points = ([row.intended_s for row in some], [max(row.latency_s, 1e-4) for row in some])
            axes.plot(*points, ".", color=colour, markersize=3, alpha=0.5, label=label)
    if deadline_s is not None:
        dashed_line(axes, deadline_s, label="deadline")
    use_log_scale(axes)
    axes.set_xlabel("intended start, s")
    axes.set_title("latency from the intended start, s")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.32), ncols=4, markerscale=3, columnspacing=1)


def print_cpu(scenario: Figures, console: Console) -> None:
    """CPU time per request of the busiest roles of each server that the benchmark started."""
    for row in scenario["contenders"]:
        used = sorted(row["cpu_s_a_request"].items(), key=lambda item: -item[1])[:_SHOWN_ROLES]
        if used:
            listed = ", ".join(f"{role} {in_ms(seconds)}" for role, seconds in used)
            console.print(f"{row['name']}: ms of CPU per request: {listed}", markup=False)
