"""The figures of `reranker bench autoscale` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.bench.autoscale.measure import Simulated


def print_simulated(results: Sequence[Simulated], title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("trace", "policy", "late, s", "late work", "p95 / max, s", "x ideal", "flaps"):
        table.add_column(column, justify="left" if column in ("trace", "policy") else "right", no_wrap=True)
    for result in results:
        for number, row in enumerate(result.figures):
            table.add_row(
                result.trace.name if number == 0 else "",
                row.policy,
                f"{row.over_target_s:,}",
                f"{row.work_over_target:.1%}",
                f"{row.wait_p95_s:.0f} / {row.longest_wait_s:.0f}",
                f"{row.over_ideal:.2f}",
                str(row.flaps),
                end_section=number == len(result.figures) - 1,
            )
    console.print(table)


def print_live(rows: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table(title="real Serve, scorers that sleep for the device's time", title_justify="left", padding=0)
    for column in ("trace", "policy", "sent", "429", "failed", "p50 / p95, s", "replica-s", "replicas"):
        table.add_column(column, justify="left" if column in ("trace", "policy") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["trace"],
            row["policy"],
            str(row["requests"]),
            str(row["refused"]),
            str(row["failed"]),
            f"{row['latency_p50_s']:.2f} / {row['latency_p95_s']:.2f}",
            f"{row['replica_s']:.0f}",
            f"{row['least_replicas']} to {row['most_replicas']}",
        )
    console.print(table)
