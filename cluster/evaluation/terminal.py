"""Tables for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from cluster.evaluation.comparison import MAIN_MEASURE, Comparison
from cluster.evaluation.models_report import SHOWN_MEASURES, ModelsReport
from cluster.evaluation.report import SuiteReport
from reranker.ir.measures import Difference

_NAME_WIDTH = 30  # up to which names are not folded


def comparison_table(comparison: Comparison) -> Table:
    """One row per run, one column per measure."""
    table = Table(title=f"{comparison.judged} judged queries", title_justify="left")
    for heading in ("run", *comparison.measures):
        table.add_column(heading, overflow="fold")
    for run in comparison.runs:
        cells = (_cell(value, run.against_first.get(measure)) for measure, value in run.evaluation.aggregate.items())
        table.add_row(escape(run.name), *cells)
    return table


def suite_table(report: SuiteReport) -> Table:
    """One row per collection, and one with the means over all."""
    table = Table(title=f"{MAIN_MEASURE}, the first {report.depth} candidates reranked", title_justify="left")
    table.add_column("collection", overflow="fold", min_width=len("collection"))
    for heading in ("queries", "pairs", "first\nstage", "reranked", "difference", "p"):
        table.add_column(heading, justify="right")
    for result in report.results:
        difference = result.difference(MAIN_MEASURE)
        table.add_row(
            escape(result.name),
            str(result.queries),
            str(result.pairs),
            f"{result.before(MAIN_MEASURE):.4f}",
            f"{result.after(MAIN_MEASURE):.4f}",
            f"{difference.mean:+.4f}",
            f"{difference.p_value:.2g}",
        )
    before, after = report.mean_before(MAIN_MEASURE), report.mean_after(MAIN_MEASURE)
    table.add_section()
    table.add_row("mean", "", "", f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}", "")
    return table


def models_tables(report: ModelsReport) -> list[Table]:
    """The measures on each collection, one row per model; then their means, and what each model costs."""
    name_width = min(_NAME_WIDTH, max(len(standing.name) for standing in report.standings))
    by_collection = Table(title=f"the first {report.depth} candidates reranked", title_justify="left")
    by_collection.add_column("collection", overflow="fold", min_width=len("collection"))
    by_collection.add_column("model", overflow="fold", min_width=name_width)
    for heading in SHOWN_MEASURES:
        by_collection.add_column(heading, overflow="fold")
    for result in report.results:
        for place, run in enumerate(result.comparison.runs):
            values = ((run.evaluation.aggregate[name], run.against_first.get(name)) for name in SHOWN_MEASURES)
            cells = (_cell(value, against) for value, against in values)
            by_collection.add_row("" if place else escape(result.name), escape(run.name), *cells)
        by_collection.add_section()
    models = Table(
        title="means over the collections",
        title_justify="left",
        caption="\n".join(report.cost_notes),
        caption_justify="left",
    )
    models.add_column("model", overflow="fold", min_width=name_width)
    for heading in (*SHOWN_MEASURES, *report.cost_headings):
        models.add_column(heading, overflow="fold")
    for standing in report.standings:
        cells = (_cell(standing.mean[name], standing.against_first.get(name)) for name in SHOWN_MEASURES)
        models.add_row(escape(standing.name), *cells, *report.cost_cells(standing))
    return [by_collection, models]


def _cell(value: float, against_first: Difference | None) -> str:
    if against_first is None:
        return f"{value:.4f}"
    return f"{value:.4f}\n{against_first.mean:+.4f}\np={against_first.p_value:.2g}"
