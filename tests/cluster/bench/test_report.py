"""Helpers that every benchmark's tables share."""

from rich.console import Console

from cluster.bench.report import in_ms, median_ratio, medians, print_table, times


def test_missing_figures_are_empty_cells() -> None:
    assert (in_ms(None), in_ms(0.0125)) == ("", "12.5")
    assert (times(None), times(2)) == ("", "2.00 x")


def test_medians_count_a_missing_key_as_zero() -> None:
    assert medians([{"a": 1.0, "b": 2.0}, {"a": 3.0}, {"a": 5.0}]) == {"a": 3.0, "b": 0.0}


def test_median_ratio_compares_within_each_round() -> None:
    assert median_ratio([1.0, 20.0, 3.0], [2.0, 10.0, 3.0]) == 1.0
    assert median_ratio([1.0], []) is None


def test_tables_show_names_with_brackets_and_rows_that_end_early() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        print_table(console, "[bold]model[/bold]", ("", "docs/s", "p50"), [("a [b]", "1.0", "2.0"), ("c", "3.0")])
    shown = capture.get()
    assert "[bold]model[/bold]" in shown
    assert "a [b]" in shown
    assert "3.0" in shown
