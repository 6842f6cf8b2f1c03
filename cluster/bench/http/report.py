"""The figures of `reranker bench http` as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]


def print_report(result: Figures, console: Console) -> None:
    for scenario, figures in result["scenarios"].items():
        _PRINT[scenario](figures, console)


def _overhead(figures: Figures, console: Console) -> None:
    table = _table("one client, one document: p50 in ms", "", "p50", "over the engine", "p95", "p99")
    engine = figures["engine"]
    for row in figures["contenders"]:
        pooled = row["pooled"]
        table.add_row(
            row["name"], _ms(row["p50_s"]), _ms(row["overhead_s"]), _ms(pooled["p95_s"]), _ms(pooled["p99_s"])
        )
    if engine:
        table.add_row("the engine alone", _ms(engine["p50_s"]))
    table.add_row("the client alone", _ms(figures["client_alone_p50_s"]))
    console.print(table)
    if engine:
        console.print(
            f"the engine: {_ms(engine['tokenizing_p50_s'])} ms tokenizing, "
            f"{_ms(engine['scoring_p50_s'])} ms scoring, {engine['mean_tokens']:.0f} tokens"
        )
    console.print(f"the client: {_ms(figures['client_cpu_s_a_request'])} ms of CPU a request")
    for row in figures["contenders"]:
        if steps := row["steps_p50_s"]:
            console.print(f"{row['name']}: " + ", ".join(f"{step} {_ms(took)} ms" for step, took in steps.items()))
    _cpu(figures, console)


def _throughput(figures: Figures, console: Console) -> None:
    title = f"{figures['clients']} clients, {figures['documents']} documents a request"
    table = _table(title, "", "docs/s", "of the engine's", "p50 s", "p99 s", "answers")
    for row in figures["contenders"]:
        latency = row["latency"]
        table.add_row(
            row["name"],
            f"{row['docs_per_s']:.1f}",
            _share(row["share_of_engine"]),
            _s(latency["p50_s"]),
            _s(latency["p99_s"]),
            _counts(row["statuses"]),
        )
    if engine := figures["engine"]:
        table.add_row("the engine alone", f"{engine['docs_per_s']:.1f}")
    console.print(table)
    _cpu(figures, console)


def _mixed(figures: Figures, console: Console) -> None:
    small, large = figures["small_documents"], figures["large_documents"]
    title = f"{small} documents beside {figures['large_clients']} clients with {large:,}: s"
    columns = ("", "alone p50", "p99", "beside p50", "p95", "p99", "over alone", "answers", "large p50")
    table = _table(title, *columns)
    for row in figures["contenders"]:
        lone, beside = row["lone"], row["beside"]
        table.add_row(
            row["name"],
            *(_s(lone[key]) for key in ("p50_s", "p99_s")),
            *(_s(beside[key]) for key in ("p50_s", "p95_s", "p99_s")),
            _times(row["p99_over_lone_p50"]),
            _counts(row["statuses"]),
            _s(row["large"]["p50_s"]),
        )
    console.print(table)


def _overload(figures: Figures, console: Console) -> None:
    title = f"{figures['seconds']:.0f} s of {figures['mix']} documents; in time: {figures['in_time_s']:g} s"
    names = [row["name"] for row in figures["contenders"]]
    table = _table(title, "", *names)
    for label, cell in _OVERLOAD_ROWS.items():
        table.add_row(label, *(cell(row) for row in figures["contenders"]))
    console.print(table)


def _soak(figures: Figures, console: Console) -> None:
    for row in figures["contenders"]:
        latency = row["latency"]
        title = (
            f"{row['name']}: {figures['seconds'] / 60:.1f} minutes; p50 {_s(latency['p50_s'])} s, "
            f"p99 {_s(latency['p99_s'])} s; {_counts(row['statuses'])}"
        )
        table = _table(title, "MB of its own", "first quarter", "last quarter", "growth", "a minute")
        for role, drift in row["drift"].items():
            table.add_row(
                role,
                f"{drift['first'] / 1e6:.1f}",
                f"{drift['last'] / 1e6:.1f}",
                f"{drift['growth']:+.1%}",
                f"{drift['per_minute'] / 1e6:+.2f}",
            )
        console.print(table)


def _cpu(figures: Figures, console: Console) -> None:
    """Where CPU time went: the busiest roles of each graph that the bench started."""
    for row in figures["contenders"]:
        spent = sorted(row["cpu_s_a_request"].items(), key=lambda item: -item[1])
        if spent:
            shown = ", ".join(f"{role} {_ms(seconds)}" for role, seconds in spent[:7])
            console.print(f"{row['name']}, ms of CPU a request: {shown}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x"


def _counts(statuses: Mapping[str, int]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in statuses.items())


_OVERLOAD_ROWS: Mapping[str, Callable[[Figures], str]] = {
    "unloaded maximum, docs/s": lambda row: f"{row['unloaded_docs_per_s']:.1f}",
    "offered, docs/s": lambda row: f"{row['offered_docs_per_s']:.1f}",
    "goodput, docs/s": lambda row: f"{row['goodput_docs_per_s']:.1f}",
    "goodput of the maximum": lambda row: _share(row["goodput_share"]),
    "accepted: p50 / p99, s": lambda row: f"{_s(row['accepted']['p50_s'])} / {_s(row['accepted']['p99_s'])}",
    "answers": lambda row: _counts(row["statuses"]),
    "refused with 429 and Retry-After": lambda row: _share(row["refused"]["share_429_with_retry_after"]),
    "refusals: p50 / p99, ms": lambda row: (
        f"{_ms(row['refused']['latency']['p50_s'])} / {_ms(row['refused']['latency']['p99_s'])}"
    ),
    "the same from when they were sent": lambda row: (
        f"{_ms(row['refused']['latency_from_sent']['p50_s'])} / {_ms(row['refused']['latency_from_sent']['p99_s'])}"
    ),
    "Retry-After within a factor of 2": lambda row: _share(row["refused"]["retry_after"]["share_within_factor_2"]),
    "told over true, median": lambda row: _times(row["refused"]["retry_after"]["median_ratio"]),
    "client late: p50 / p99, ms": lambda row: (
        f"{_ms(row['client_lag']['p50_s'])} / {_ms(row['client_lag']['p99_s'])}"
    ),
}
_PRINT: Mapping[str, Callable[[Figures, Console], None]] = {
    "overhead": _overhead,
    "throughput": _throughput,
    "mixed": _mixed,
    "overload": _overload,
    "soak": _soak,
}
