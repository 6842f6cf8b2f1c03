"""One PNG of all scenarios: a row of panels each. Loads matplotlib.

Latency over time and its distribution, what was accepted and refused each second, what Retry-After told against what
was true, memory over time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from cluster.bench.http import figures
from cluster.bench.http.context import Outcome
from cluster.bench.http.records import TOO_MANY, Row
from cluster.bench.http.settings import HttpBenchSettings

_INK, _RULE = "#22303c", "#d5dbe0"
_ACCEPTED, _REFUSED, _OTHER, _OFFERED = "#1b7f5c", "#d98324", "#b3263e", "#5b6b78"
_CONTENDERS = ("#2b6cb0", "#c05621", "#6b46c1", "#2f855a", "#b83280")
_PALE = ("#a3c2e3", "#e6ad8e", "#bfa9e3", "#9fcbb2", "#e2a9ca")  # the same, for steps on the way
_RC: dict[str, Any] = {
    "font.size": 9,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_WIDTH_IN, _ROW_IN, _DPI = 12.0, 3.3, 130
_BINS = 30  # bars of the accepted and refused, at most one a second


def draw(outcomes: Mapping[str, Outcome], settings: HttpBenchSettings, path: Path) -> None:
    """Overload has a row for each contender; the other scenarios have one, contenders side by side."""
    rows: list[tuple[str, Callable[[SubFigure], None]]] = []
    for scenario, outcome in outcomes.items():
        if scenario == "overload":
            rows += [
                (f"overload: {row['name']}", _overload(row, outcome, settings))
                for row in outcome.figures["contenders"]
            ]
        else:
            rows.append((_TITLES[scenario], _ROWS[scenario](outcome)))
    with matplotlib.style.context(["default", _RC]):
        figure = Figure(figsize=(_WIDTH_IN, _ROW_IN * max(1, len(rows))), layout="constrained", facecolor="white")
        parts = figure.subfigures(max(1, len(rows)), 1, squeeze=False)[:, 0]
        for part, (title, row) in zip(parts, rows, strict=False):
            part.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
            row(part)
        figure.savefig(path, format="png", dpi=_DPI)


def _overhead(outcome: Outcome) -> Callable[[SubFigure], None]:
    def row(part: SubFigure) -> None:
        bars, spread = part.subplots(1, 2)
        _steps(bars, outcome.figures)
        _distribution(spread, outcome.rows, "ms", 1e3)

    return row


def _throughput(outcome: Outcome) -> Callable[[SubFigure], None]:
    def row(part: SubFigure) -> None:
        bars, spread = part.subplots(1, 2)
        entries = list(outcome.figures["contenders"])
        if engine := outcome.figures["engine"]:
            entries.append({"name": "the engine alone", **engine})
        for place, entry in enumerate(entries):
            colour = _OFFERED if place == len(outcome.figures["contenders"]) else _colour(place)
            bars.barh(place, entry["docs_per_s"], color=colour, height=0.55)
            bars.plot(entry["rounds"], [place] * len(entry["rounds"]), "o", color=_INK, markersize=3)
        bars.set_yticks(range(len(entries)), [entry["name"] for entry in entries])
        bars.invert_yaxis()
        bars.grid(axis="y", visible=False)
        bars.set_title("documents/s: median, and each round")
        _distribution(spread, outcome.rows, "s", 1.0)

    return row


def _mixed(outcome: Outcome) -> Callable[[SubFigure], None]:
    def row(part: SubFigure) -> None:
        times, spread = part.subplots(1, 2)
        for place, (name, rows) in enumerate(outcome.rows.items()):
            accepted = [row for row in rows if row.accepted]
            points = ([row.intended_s for row in accepted], [row.latency_s for row in accepted])
            times.plot(*points, ".", color=_colour(place), markersize=4, alpha=0.6, label=name)
        for place, row in enumerate(outcome.figures["contenders"]):
            if row["lone"]["p50_s"]:
                times.axhline(row["lone"]["p50_s"], color=_colour(place), linewidth=1, linestyle="dashed")
        times.set_ylim(0, times.get_ylim()[1] * 1.2)  # room for the legend
        times.set_xlabel("intended start, s into its run")
        times.set_title("seconds beside large requests; dashed: the lone median")
        times.legend()
        _distribution(spread, outcome.rows, "s", 1.0)

    return row


def _overload(entry: Mapping[str, Any], outcome: Outcome, settings: HttpBenchSettings) -> Callable[[SubFigure], None]:
    rows, seconds = outcome.rows[entry["name"]], outcome.figures["seconds"]

    def row(part: SubFigure) -> None:
        rates, times, truth = part.subplots(1, 3)
        _answers(rates, rows, seconds, entry["unloaded_docs_per_s"])
        _latency_over_time(times, rows, settings.in_time_s)
        _waits(truth, rows)

    return row


def _soak(outcome: Outcome) -> Callable[[SubFigure], None]:
    def row(part: SubFigure) -> None:
        memory, times = part.subplots(1, 2)
        for place, entry in enumerate(outcome.figures["contenders"]):
            for role, values in entry["memory_bytes"].items():
                if role == "all":
                    continue
                line = memory.plot(entry["minutes"], np.array(values) / 1e6, linewidth=1.4)[0]
                line.set_linestyle(("solid", "dashed", "dotted")[place % 3])
                growth = entry["drift"][role]["growth"]
                line.set_label(f"{role} {growth:+.1%}")
        memory.set_ylim(bottom=0)
        memory.set_xlabel("minutes")
        memory.set_title("MB of anonymous memory; growth from first to last quarter")
        if memory.lines:
            memory.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        for rows in outcome.rows.values():
            _latency_over_time(times, rows, None)

    return row


def _steps(axes: Axes, data: Mapping[str, Any]) -> None:
    """How far along the road the time goes: each step's bar contains those before it."""
    labels, values, colours = ["the client alone"], [data["client_alone_p50_s"]], [_OFFERED]
    if engine := data["engine"]:
        labels.append("the engine alone")
        values.append(engine["p50_s"])
        colours.append(_OFFERED)
    for place, entry in enumerate(data["contenders"]):
        for step, took in entry["steps_p50_s"].items():
            labels.append(f"{entry['name']} {step}")
            values.append(took)
            colours.append(_PALE[place % len(_PALE)])
        labels.append(f"{entry['name']}, one document")
        values.append(entry["p50_s"])
        colours.append(_colour(place))
    bars = axes.barh(range(len(values)), [value * 1e3 for value in values], color=colours, height=0.65)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    axes.set_title("p50 in ms, one client")


def _distribution(axes: Axes, rows: Mapping[str, Sequence[Row]], unit: str, factor: float) -> None:
    """The share of answers that took longer, so that tails are seen."""
    for place, (name, some) in enumerate(rows.items()):
        if (values := np.sort(figures.latencies(some))).size:
            beyond = 1 - np.arange(values.size) / values.size
            axes.step(values * factor, beyond, where="post", color=_colour(place), linewidth=1.6, label=name)
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_yticks([1, 0.5, 0.1, 0.05, 0.01], ["100 %", "50 %", "10 %", "5 %", "1 %"])
    axes.minorticks_off()
    axes.set_xlabel(unit)
    axes.set_title("answers that took longer than")
    if axes.lines:
        axes.legend(loc="lower left")


def _answers(axes: Axes, rows: Sequence[Row], seconds: float, maximum: float) -> None:
    bins = np.linspace(0, seconds, min(_BINS, max(2, int(seconds))) + 1)
    width = bins[1] - bins[0]
    parts = (
        ("answered", _ACCEPTED, [row for row in rows if row.accepted]),
        ("429", _REFUSED, [row for row in rows if row.status == TOO_MANY]),
        ("other", _OTHER, [row for row in rows if not row.accepted and row.status != TOO_MANY]),
    )
    bottom = np.zeros(len(bins) - 1)
    for label, colour, some in parts:
        heights = _rate([row.done_s for row in some], some, bins)
        if heights.any():
            axes.bar(bins[:-1], heights, width * 0.9, bottom=bottom, align="edge", color=colour, label=label)
        bottom += heights
    offered = _rate([row.intended_s for row in rows], rows, bins)
    axes.stairs(offered, bins, color=_OFFERED, linewidth=1.2, label="offered")
    axes.axhline(maximum, color=_INK, linewidth=1, linestyle="dashed", label="unloaded maximum")
    axes.set_xlabel("s")
    axes.set_ylim(0, max(float(offered.max()), float(bottom.max()), maximum) * 1.35)
    axes.set_title("documents/s")
    axes.legend(ncols=3, loc="upper left", columnspacing=1, handlelength=1.2)


def _rate(times: Sequence[float], rows: Sequence[Row], bins: figures.Values) -> figures.Values:
    """Documents/s in each bin."""
    counts, _ = np.histogram(times, bins, weights=[row.documents for row in rows])
    return np.asarray(counts / np.diff(bins), dtype=np.float64)


def _latency_over_time(axes: Axes, rows: Sequence[Row], in_time_s: float | None) -> None:
    for label, colour, some in (
        ("refused", _REFUSED, [row for row in rows if row.status == TOO_MANY]),
        ("other", _OTHER, [row for row in rows if not row.accepted and row.status != TOO_MANY]),
        ("answered", _ACCEPTED, [row for row in rows if row.accepted]),
    ):
        if some:
            points = ([row.intended_s for row in some], [max(row.latency_s, 1e-4) for row in some])
            axes.plot(*points, ".", color=colour, markersize=3, alpha=0.5, label=label)
    if in_time_s is not None:
        axes.axhline(in_time_s, color=_INK, linewidth=1, linestyle="dashed", label="in time")
    _seconds_scale(axes)
    axes.set_xlabel("intended start, s")
    axes.set_title("seconds from the intended start")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.32), ncols=4, markerscale=3, columnspacing=1)


def _seconds_scale(axes: Axes) -> None:
    """A log scale that names its ticks in plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _waits(axes: Axes, rows: Sequence[Row]) -> None:
    told, true = figures.waits(rows)
    axes.set_title("Retry-After told, s; green: within a factor of 2")
    if not len(told):
        axes.text(0.5, 0.5, "no refusal told a wait", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    limit = float(max(told.max(), true.max())) * 1.1
    line = np.array([0.0, limit])
    axes.fill_between(
        line, line / figures.TRUE_WITHIN, line * figures.TRUE_WITHIN, color=_ACCEPTED, alpha=0.12, linewidth=0
    )
    axes.plot(line, line, color=_ACCEPTED, linewidth=1)
    axes.plot(true, told, ".", color=_REFUSED, markersize=3, alpha=0.4)
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_xlabel("s until what was queued had been answered")


def _colour(place: int) -> str:
    return _CONTENDERS[place % len(_CONTENDERS)]


_TITLES = {
    "overhead": "overhead: one client, one document",
    "throughput": "throughput: many clients that wait for their answers",
    "mixed": "mixed: small requests beside large ones",
    "soak": "soak: steady load below the maximum",
}
_ROWS: Mapping[str, Callable[[Outcome], Callable[[SubFigure], None]]] = {
    "overhead": _overhead,
    "throughput": _throughput,
    "mixed": _mixed,
    "soak": _soak,
}
