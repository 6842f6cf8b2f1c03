"""The picture of quality against cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from cluster.evaluation.pictures import INK, RUN_COLOURS, RUNS, as_svg, new_axes, own_style

_HEIGHT_IN = 3.6
_LABEL_GAP = 0.07  # between neighbouring labels, as a share of the axis
_MARGIN = 0.12  # above and below the points, as a share of what they span
_MARKERS = "os^D"  # one for every RUN_COLOURS models


@dataclass(frozen=True, slots=True)
class CostPoint:
    """One model: place in the table, cost above 0, and quality."""

    name: str
    place: int
    cost: float
    quality: float


def draw_costs(
    points: Sequence[CostPoint], first_stage: float, x_label: str, y_label: str, key: str, label: str
) -> str:
    """One labelled point per model over a logarithmic axis, and a line at the first stage, which costs nothing here.

    points: at least one. key, label: as for `draw_depths`.
    """
    with own_style(key):
        figure, axes = new_axes(_HEIGHT_IN)
        costs = [point.cost for point in points]
        qualities = [point.quality for point in points]
        low, high = min(*qualities, first_stage), max(*qualities, first_stage)
        margin = _MARGIN * ((high - low) or 0.1)
        bottom, top = low - margin, high + margin
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 2, max(costs) * 2)
        axes.set_ylim(bottom, top)
        axes.axhline(first_stage, color=INK, linewidth=0.8, linestyle="dashed")
        heights = spread([(quality - bottom) / (top - bottom) for quality in [*qualities, first_stage]], _LABEL_GAP)
        axes.annotate("first stage", (0.005, heights.pop()), xycoords="axes fraction", va="bottom", fontsize=8.5)
        left_half = (min(costs) * max(costs)) ** 0.5
        for point, height in zip(points, heights, strict=True):
            on_left, colour = point.cost <= left_half, RUNS[point.place % RUN_COLOURS]
            axes.plot(
                [point.cost],
                [point.quality],
                color=colour,
                marker=_MARKERS[point.place // RUN_COLOURS % len(_MARKERS)],
                markersize=8,
                linestyle="none",
            )
            axes.annotate(
                point.name,
                (point.cost, bottom + height * (top - bottom)),
                xytext=(9 if on_left else -9, 0),
                textcoords="offset points",
                ha="left" if on_left else "right",
                va="center",
                color=colour,  # says whose label it is where labels were moved apart
            )
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return as_svg(figure, label)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights, moved apart so that any two differ by `gap` or more; a group of neighbours stays centred."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    groups: list[list[int]] = []
    centres: list[float] = []
    for place in order:
        groups.append([place])
        centres.append(heights[place])
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            joined = groups[-2] + groups[-1]
            centre = sum(heights[member] for member in joined) / len(joined)
            groups[-2:], centres[-2:] = [joined], [centre]
    moved = dict.fromkeys(order, 0.0)
    for group, centre in zip(groups, centres, strict=True):
        for rank, member in enumerate(group):
            moved[member] = centre + (rank - (len(group) - 1) / 2) * gap
    return [moved[place] for place in range(len(heights))]
