"""The HTML page of several models: quality against cost, then one section per collection."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.evaluation.cells import P_NOTE, measured, number_cell, number_heading, table
from cluster.evaluation.comparison import MAIN_MEASURE
from cluster.evaluation.cost_picture import CostPoint, draw_costs
from cluster.evaluation.markup import Html, element, join
from cluster.evaluation.models_report import SHOWN_MEASURES, ModelsReport
from cluster.evaluation.page import collection_sections, whole_page
from cluster.evaluation.report import CollectionResult


def models_page(report: ModelsReport, suite_name: str) -> str:
    count = len(report.results)
    lead = element(
        "p",
        f"The first {report.depth} candidates of each query, reranked by {len(report.models)} "
        f"{'model' if len(report.models) == 1 else 'models'}: means over {count} "
        f"{'collection' if count == 1 else 'collections'} of equal weight.",
        class_="lead",
    )
    sections = collection_sections(report.results)
    return whole_page(suite_name, lead, _standings(report), _costs(report), _by_collection(report), *sections)


def _standings(report: ModelsReport) -> Html:
    headings = (*SHOWN_MEASURES, *report.cost_headings)
    heading = element("tr", element("th", "model"), *map(number_heading, headings))
    rows = [
        element(
            "tr",
            element("th", standing.name, scope="row", class_="name"),
            *(measured(standing.mean[measure], standing.against_first.get(measure)) for measure in SHOWN_MEASURES),
            *map(number_cell, report.cost_cells(standing)),
        )
        for standing in report.standings
    ]
    notes = (P_NOTE.format("model"), *report.cost_notes)
    return join(table(heading, rows), *(element("p", note, class_="note") for note in notes))


def _costs(report: ModelsReport) -> Html:
    """The picture, without models whose cost is not known; empty if none is known."""
    priced = report.price_per_hour is not None
    *models, first_stage = report.standings
    points = []
    for place, standing in enumerate(models):
        if (cost := standing.cost) is not None:
            x = report.price_of(cost) if priced else cost.seconds_per_100
            points.append(CostPoint(standing.name, place, x or 0.0, standing.mean[MAIN_MEASURE]))
    if not points:
        return Html("")
    axis = f"cost per million pairs, at {report.price_per_hour:g} per hour" if priced else "seconds for 100 documents"
    label = f"mean {MAIN_MEASURE} against {axis}, one point per model"
    picture = Html(draw_costs(points, first_stage.mean[MAIN_MEASURE], axis, f"mean {MAIN_MEASURE}", "costs", label))
    caption = element("figcaption", f"Quality against cost: mean {MAIN_MEASURE} over {axis}. Up and left is better.")
    return element("figure", caption, picture)


def _by_collection(report: ModelsReport) -> Html:
    """nDCG@10 of each model on each collection."""
    standings = report.standings
    heading = element("tr", element("th", "collection"), *(number_heading(standing.name) for standing in standings))
    rows = [_collection_row(result, f"#c{place}") for place, result in enumerate(report.results)]
    means = (
        measured(standing.mean[MAIN_MEASURE], standing.against_first.get(MAIN_MEASURE)) for standing in standings
    )
    rows.append(element("tr", element("th", "mean", scope="row"), *means, class_="mean"))
    return join(element("h3", f"{MAIN_MEASURE} by collection"), table(heading, rows))


def _collection_row(result: CollectionResult, link: str) -> Html:
    cells: Sequence[Html] = [
        measured(run.evaluation.aggregate[MAIN_MEASURE], run.against_first.get(MAIN_MEASURE))
        for run in result.comparison.runs
    ]
    return element("tr", element("th", element("a", result.name, href=link), scope="row", class_="name"), *cells)
