"""One HTML page of a comparison or a suite: tables, pictures, and the queries with the largest gains and losses.

The page is one file without scripts or external resources, and the same input gives the same bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.evaluation.cells import P_NOTE, measured, number_cell, number_heading, p_value, signed, table
from cluster.evaluation.comparison import MAIN_MEASURE, Comparison, MeasuredRun, run_names
from cluster.evaluation.markup import Html, element, join
from cluster.evaluation.pictures import DASHES, RUN_COLOURS, draw_depths, draw_gains
from cluster.evaluation.report import CollectionResult, SuiteReport
from cluster.evaluation.stylesheet import STYLESHEET
from reranker.errors import InvalidFile
from reranker.files import write_atomically
from reranker.ir.measures import Gain, gains
from reranker.ir.texts import read_queries

SHOWN_QUERIES = 10  # of those that gained, and of those that lost
_DOCTYPE = "<!doctype html>\n"


def runs_page(comparison: Comparison, qrels_name: str, texts: Mapping[str, str]) -> str:
    """texts: query_id -> query; may lack queries or be empty."""
    title = f"{len(comparison.runs)} {'run' if len(comparison.runs) == 1 else 'runs'} over {qrels_name}"
    lead = element("p", f"Means over all {comparison.judged} judged queries.", class_="lead")
    return whole_page(title, lead, comparison_section(comparison, texts, "c"))


def suite_page(report: SuiteReport, suite_name: str) -> str:
    """A table of all collections, then one section per collection."""
    count = len(report.results)
    lead = element(
        "p",
        f"The first {report.depth} candidates of each query, reranked by {run_names([Path(report.model)])[0]}: "
        f"{count} {'collection' if count == 1 else 'collections'}.",
        class_="lead",
    )
    return whole_page(suite_name, lead, _suite_table(report), *collection_sections(report.results))


def collection_sections(results: Sequence[CollectionResult]) -> list[Html]:
    """One section per collection, with the ids c0, c1, ..."""
    return [
        element(
            "section",
            element("h2", result.name),
            element("p", f"{result.comparison.judged} judged queries, {result.pairs} pairs reranked.", class_="lead"),
            comparison_section(result.comparison, read_queries(result.collection.queries), f"c{number}"),
            id=f"c{number}",
        )
        for number, result in enumerate(results)
    ]


def check_writable(path: Path) -> None:
    """Raises InvalidFile unless a page can be written there, as a new file or over an older page."""
    if path.exists() and not path.is_file():
        raise InvalidFile(path, "is not a file, so no page can be written there")
    if path.is_file():
        with path.open("rb") as file:
            if not file.read(len(_DOCTYPE)).lower() == _DOCTYPE.encode():
                raise InvalidFile(path, "exists and is not an evaluation page: delete it or choose another file")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InvalidFile(path, f"cannot be written: {error.strerror}") from None


def write_page(path: Path, page: str) -> None:
    """Write the page atomically. Raises InvalidFile."""
    try:
        write_atomically(path, page)
    except OSError as error:
        raise InvalidFile(path, f"cannot be written: {error.strerror}") from None


def whole_page(title: str, *inside: Html) -> str:
    """A page with a heading and what is below it."""
    head = element(
        "head",
        Html('<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        Html('<meta name="color-scheme" content="light dark">\n'),
        element("title", title),
        element("style", Html(STYLESHEET)),
    )
    return _DOCTYPE + element(
        "html", head, element("body", element("main", element("h1", title), *inside)), lang="en"
    )


def comparison_section(comparison: Comparison, texts: Mapping[str, str], key: str) -> Html:
    """key: prefix of this section's picture ids, which must be unique on the page."""
    parts = [_measures_table(comparison), _depths(comparison, f"{key}-depths")]
    for number, run in enumerate(comparison.runs[1:], 1):
        query_gains = gains(comparison.base.evaluation, run.evaluation, MAIN_MEASURE)
        parts += [
            element("h3", run.name, element("span", " against ", class_="quiet"), comparison.base.name),
            _gains(query_gains, f"{key}-gains-{number}"),
            _largest_changes(query_gains, comparison.base, run, texts),
        ]
    return join(*parts)


def _measures_table(comparison: Comparison) -> Html:
    heading = element("tr", element("th", "run"), *(number_heading(measure) for measure in comparison.measures))
    rows = []
    for run in comparison.runs:
        cells = [
            measured(value, run.against_first.get(measure)) for measure, value in run.evaluation.aggregate.items()
        ]
        rows.append(element("tr", element("th", run.name, scope="row", class_="name"), *cells))
    note = [element("p", P_NOTE.format("run"), class_="note")] if len(comparison.runs) > 1 else []
    return join(table(heading, rows), *note)


def _suite_table(report: SuiteReport) -> Html:
    headings = ("queries", "judged", "pairs", "first stage", "reranked", "difference", "p")
    rows = []
    for number, result in enumerate(report.results):
        difference = result.difference(MAIN_MEASURE)
        link = element("a", result.name, href=f"#c{number}")
        numbers = (
            str(result.queries),
            str(result.comparison.judged),
            str(result.pairs),
            f"{result.before(MAIN_MEASURE):.4f}",
            f"{result.after(MAIN_MEASURE):.4f}",
            signed(difference.mean),
            p_value(difference.p_value),
        )
        rows.append(element("tr", element("th", link, scope="row", class_="name"), *map(number_cell, numbers)))
    before, after = report.mean_before(MAIN_MEASURE), report.mean_after(MAIN_MEASURE)
    means = ("", "", "", f"{before:.4f}", f"{after:.4f}", signed(after - before), "")
    rows.append(element("tr", element("th", "mean", scope="row"), *map(number_cell, means), class_="mean"))
    heading = element("tr", element("th", "collection"), *map(number_heading, headings))
    note = element("p", f"{MAIN_MEASURE}. p: paired two-sided t-test over the judged queries.", class_="note")
    return join(table(heading, rows), note)


def _depths(comparison: Comparison, key: str) -> Html:
    legend = []
    for number, run in enumerate(comparison.runs):
        colour, dashes = f"var(--run-{number % RUN_COLOURS})", DASHES[number // RUN_COLOURS % len(DASHES)]
        swatch = element("span", class_="swatch", style=f"border-top: 3px {dashes} {colour}")
        legend.append(element("li", swatch, run.name))
    picture = Html(draw_depths([run.by_depth for run in comparison.runs], key, "nDCG by depth, one line per run"))
    caption = element("figcaption", "nDCG by depth: mean nDCG@k of the first k passages, over all queries.")
    return element("figure", caption, element("ul", *legend, class_="legend"), picture)


def _gains(query_gains: Sequence[Gain], key: str) -> Html:
    better = sum(gain.value > 0 for gain in query_gains)
    worse = sum(gain.value < 0 for gain in query_gains)
    counts = f"{better} better, {len(query_gains) - better - worse} equal, {worse} worse"
    picture = Html(draw_gains(query_gains, MAIN_MEASURE, key, f"{MAIN_MEASURE} of each query: {counts}"))
    caption = element("figcaption", f"{MAIN_MEASURE} query by query: ", element("strong", counts), ".")
    return element("figure", caption, picture)


def _largest_changes(
    query_gains: Sequence[Gain], base: MeasuredRun, run: MeasuredRun, texts: Mapping[str, str]
) -> Html:
    """A table of the largest gains, then one of the largest losses, each with the largest first."""
    gained = [gain for gain in query_gains if gain.value > 0][:SHOWN_QUERIES]
    lost = [gain for gain in reversed(query_gains) if gain.value < 0][:SHOWN_QUERIES]
    heading = element(
        "tr",
        element("th", "query"),
        *([element("th", "text")] if texts else []),
        *map(number_heading, (base.name, run.name, "gain")),
    )
    parts = []
    for title, shown in (("Largest gains", gained), ("Largest losses", lost)):
        rows = [
            element(
                "tr",
                element("td", gain.query_id, class_="id"),
                *([element("td", texts.get(gain.query_id, ""))] if texts else []),
                *map(number_cell, (f"{gain.base:.4f}", f"{gain.other:.4f}", signed(gain.value))),
            )
            for gain in shown
        ]
        if rows:
            parts += [element("h4", title), table(heading, rows)]
    return join(*parts)
