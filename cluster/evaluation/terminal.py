"""Tables for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from cluster.evaluation.comparison import MAIN_MEASURE, Comparison
from cluster.evaluation.report import SuiteReport


def comparison_table(comparison: Comparison) -> Table:
    """One row per run, one column per measure."""
    table = Table(title=f"{comparison.judged} judged queries", title_justify="left")
    for heading in ("run", *comparison.measures):
        table.add_column(heading, overflow="fold")
    for run in comparison.runs:
        cells = []
        for measure, value in run.evaluation.aggregate.items():
            cell = f"{value:.4f}"
            if run.against_first:
                difference = run.against_first[measure]
                cell += f"\n{difference.mean:+.4f}\np={difference.p_value:.2g}"
            cells.append(cell)
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
