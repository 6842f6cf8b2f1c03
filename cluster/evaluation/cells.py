"""Tables of numbers as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cluster.evaluation.markup import Html, element
from reranker.ir.measures import Difference

P_NOTE = "p: paired two-sided t-test over queries against the first {}, not corrected for several comparisons."


def measured(value: float, against_first: Difference | None) -> Html:
    """A cell with a value and, if there is one, its difference from the first row's and the p-value."""
    cell = [Html(f"{value:.4f}")]
    if against_first is not None:
        cell += [Html("<br>"), signed(against_first.mean), Html("<br>")]
        cell.append(element("span", f"p {p_value(against_first.p_value)}", class_="quiet"))
    return element("td", *cell, class_="number")


def table(heading: Html, rows: Sequence[Html]) -> Html:
    inside = element("table", element("thead", heading), element("tbody", *rows))
    return element("div", inside, class_="wide")


def number_cell(text: str) -> Html:
    return element("td", text, class_="number")


def number_heading(text: str) -> Html:
    return element("th", text, class_="number", scope="col")


def signed(value: float) -> Html:
    kind = "better" if value > 0 else "worse" if value < 0 else "quiet"
    return element("span", f"{value:+.4f}".replace("-", "−"), class_=kind)


def p_value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2g}"
