"""Two pictures as inline SVG: nDCG by depth, and the gain of each query.

The same input gives the same bytes. Colours are the page's CSS variables (`--ink`, `--rule`, `--better`, `--worse`,
`--run-0` …), so that pictures follow light and dark mode. Dollar signs in text do not start mathematics.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from reranker.ir.measures import Gain

Values = NDArray[np.float64]

RUN_COLOURS = 8
DASHES = ("solid", "dashed", "dotted")  # one for every RUN_COLOURS runs
MAX_LABELLED_BARS = 40  # more query ids do not fit below the bars
MAX_ID_CHARS = 18
MAX_BARS_WITH_GAPS = 200
MIN_BAR_SLOTS = 14  # of the axis, so that a few bars are not drawn very wide

# Placeholder colours for matplotlib; `_themed` replaces them by the page's variables.
INK, _RULE, _BETTER, _WORSE = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
RUNS = [f"#0b00{n:02x}" for n in range(RUN_COLOURS)]
_VARIABLES = {INK: "--ink", _RULE: "--rule", _BETTER: "--better", _WORSE: "--worse"} | {
    colour: f"--run-{n}" for n, colour in enumerate(RUNS)
}
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def draw_depths(curves: Sequence[Mapping[int, float]], key: str, label: str) -> str:
    """nDCG@k over k, one line per run; the legend is left to the page.

    curves: k -> mean nDCG@k for each run, all over the same k. key: makes this picture's ids unique on the page.
    label: the text for screen readers.
    """
    with own_style(key):
        figure, axes = new_axes(height_in=3.0)
        depths = list(curves[0])
        for n, curve in enumerate(curves):
            colour, dashes = RUNS[n % RUN_COLOURS], DASHES[n // RUN_COLOURS % len(DASHES)]
            values = list(curve.values())
            axes.plot(depths, values, color=colour, linestyle=dashes, linewidth=1.8, marker="o", markersize=4)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(depths, labels=[str(depth) for depth in depths])
        axes.set_xlabel("depth k")
        axes.set_ylabel("mean nDCG@k")
        return as_svg(figure, label)


def draw_gains(gains: Sequence[Gain], measure: str, key: str, label: str) -> str:
    """One bar per query in the given order, with query ids below while they fit.

    key, label: as for `draw_depths`.
    """
    with own_style(key):
        labelled = len(gains) <= MAX_LABELLED_BARS
        figure, axes = new_axes(height_in=3.4 if labelled else 2.8)
        values = np.array([gain.value for gain in gains])
        for colour, part in ((_BETTER, np.maximum(values, 0)), (_WORSE, np.minimum(values, 0))):
            axes.stairs(*_steps(part), fill=True, color=colour)
        axes.axhline(0, color=INK, linewidth=0.8)
        margin = max(1.0, (MIN_BAR_SLOTS - len(gains)) / 2)
        axes.set_xlim(-margin, len(gains) - 1 + margin)
        if not values.any():
            axes.set_ylim(-0.1, 0.1)
        axes.set_ylabel(f"difference in {measure}")
        if labelled:
            ids = [_shortened(gain.query_id) for gain in gains]
            axes.set_xticks(range(len(gains)), labels=ids, rotation=90, fontsize=7.5)
            axes.tick_params(axis="x", length=0)
        else:
            axes.set_xticks([])
            axes.set_xlabel(f"{len(gains)} queries, from the largest gain to the largest loss")
        return as_svg(figure, label)


def _steps(values: Values) -> tuple[Values, Values]:
    """Heights and edges for `Axes.stairs`: bars at 0, 1, 2 …, with gaps between them while they are few.

    values: (n,). Equal neighbours are merged into one step, so that thousands of queries make a small file.
    """
    if len(values) <= MAX_BARS_WITH_GAPS:
        edges = (np.arange(len(values))[:, None] + [-0.4, 0.4]).ravel()
        heights = np.insert(values, range(1, len(values)), 0)
    else:
        edges, heights = np.linspace(-0.5, len(values) - 0.5, len(values) + 1), values
    new = np.insert(heights[1:] != heights[:-1], 0, True)
    return heights[new], edges[np.append(new, True)]


@contextmanager
def own_style(key: str) -> Iterator[None]:
    """Our own style; a matplotlibrc on this machine is ignored."""
    with matplotlib.style.context(["default", _RC | {"svg.hashsalt": key}]), warnings.catch_warnings():
        # The browser draws the text, with its own fonts, so a glyph that matplotlib lacks does not matter.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def new_axes(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, height_in), layout="constrained", facecolor="none")
    return figure, figure.add_subplot()


def _shortened(query_id: str) -> str:
    """Shortened in the middle, because ids of one collection often begin alike."""
    half = MAX_ID_CHARS // 2
    return query_id if len(query_id) <= MAX_ID_CHARS else f"{query_id[: half - 1]}…{query_id[-half:]}"


def as_svg(figure: Figure, label: str) -> str:
    """The <svg> element alone, for use inside HTML."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = file.getvalue()
    svg = re.sub(r"<[^>]*>", lambda tag: _themed(tag[0]), svg[svg.index("<svg ") :])
    label = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _themed(tag: str) -> str:
    """A tag with the page's colours and font. Group ids are removed: they repeat in every picture and are unused."""
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
    return re.sub(r"#0[ab]00[0-9a-f]{2}\b", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)
