"""Two pictures as inline SVG: nDCG by depth, and what each query gained.

The same figures give the same bytes. Colours are CSS variables of the page around the picture (`--ink`, `--rule`,
`--better`, `--worse`, `--run-0` …), so that it follows light and dark. Text is never read as mathematics.
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
DASHES = ("solid", "dashed", "dotted")  # of the first, second and third RUN_COLOURS runs
NAMED_QUERIES = 40  # up to so many bars there is room for the ids below them
LONGEST_ID = 18
BARS_APART = 200
FEWEST_PLACES = 14  # along the axis, so that three bars are no walls

# matplotlib writes these, the page's variables take their place.
_INK, _RULE, _BETTER, _WORSE = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
_RUNS = [f"#0b00{n:02x}" for n in range(RUN_COLOURS)]
_VARIABLES = {_INK: "--ink", _RULE: "--rule", _BETTER: "--better", _WORSE: "--worse"} | {
    colour: f"--run-{n}" for n, colour in enumerate(_RUNS)
}
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
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
    """nDCG@k over k, a line a run in the order of the runs; which line is whose is for the page to say.

    curves: k -> mean nDCG@k, all over the same k. key: tells this picture's ids from those of others on the page.
    label: what a screen reader says.
    """
    with _look(key):
        figure, axes = _axes(height_in=3.0)
        depths = list(curves[0])
        for n, curve in enumerate(curves):
            colour, dashes = _RUNS[n % RUN_COLOURS], DASHES[n // RUN_COLOURS % len(DASHES)]
            values = list(curve.values())
            axes.plot(depths, values, color=colour, linestyle=dashes, linewidth=1.8, marker="o", markersize=4)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(depths, labels=[str(depth) for depth in depths])
        axes.set_xlabel("depth k")
        axes.set_ylabel("mean nDCG@k")
        return _svg(figure, label)


def draw_gains(gains: Sequence[Gain], measure: str, key: str, label: str) -> str:
    """A bar for each query, in the order given; ids stand below where there is room for them.

    key, label: as for `draw_depths`.
    """
    with _look(key):
        named = len(gains) <= NAMED_QUERIES
        figure, axes = _axes(height_in=3.4 if named else 2.8)
        values = np.array([gain.value for gain in gains])
        for colour, part in ((_BETTER, np.maximum(values, 0)), (_WORSE, np.minimum(values, 0))):
            axes.stairs(*_steps(part), fill=True, color=colour)
        axes.axhline(0, color=_INK, linewidth=0.8)
        margin = max(1.0, (FEWEST_PLACES - len(gains)) / 2)
        axes.set_xlim(-margin, len(gains) - 1 + margin)
        if not values.any():
            axes.set_ylim(-0.1, 0.1)
        axes.set_ylabel(f"difference in {measure}")
        if named:
            ids = [_shortened(gain.query_id) for gain in gains]
            axes.set_xticks(range(len(gains)), labels=ids, rotation=90, fontsize=7.5)
            axes.tick_params(axis="x", length=0)
        else:
            axes.set_xticks([])
            axes.set_xlabel(f"{len(gains)} queries, from the largest gain to the largest loss")
        return _svg(figure, label)


def _steps(values: Values) -> tuple[Values, Values]:
    """Bars at 0, 1, 2 … as one staircase (heights and edges), with gaps between bars while they are few.

    values: (n,). Equal neighbours become one step, so that thousands of queries make a small file.
    """
    if len(values) <= BARS_APART:
        edges = (np.arange(len(values))[:, None] + [-0.4, 0.4]).ravel()
        heights = np.insert(values, range(1, len(values)), 0)
    else:
        edges, heights = np.linspace(-0.5, len(values) - 0.5, len(values) + 1), values
    new = np.insert(heights[1:] != heights[:-1], 0, True)
    return heights[new], edges[np.append(new, True)]


@contextmanager
def _look(key: str) -> Iterator[None]:
    """Our own look, whatever a matplotlibrc on this machine says."""
    with matplotlib.style.context(["default", _RC | {"svg.hashsalt": key}]), warnings.catch_warnings():
        # The reader's browser draws the text, with fonts that may well have what matplotlib's has not.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def _axes(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, height_in), layout="constrained", facecolor="none")
    return figure, figure.add_subplot()


def _shortened(query_id: str) -> str:
    """Cut in the middle: ids of one collection often begin alike."""
    half = LONGEST_ID // 2
    return query_id if len(query_id) <= LONGEST_ID else f"{query_id[: half - 1]}…{query_id[-half:]}"


def _svg(figure: Figure, label: str) -> str:
    """The <svg> element alone, to stand inside HTML."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = file.getvalue()
    svg = re.sub(r"<[^>]*>", lambda tag: _themed(tag[0]), svg[svg.index("<svg ") :])
    label = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _themed(tag: str) -> str:
    """A tag with the page's colours and font. Ids of groups go: every picture has the same, and nothing uses them."""
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
    return re.sub(r"#0[ab]00[0-9a-f]{2}\b", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)
