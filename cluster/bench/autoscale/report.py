"""The figures of `reranker bench autoscale` on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from cluster.bench.autoscale.measure import Simulated
from cluster.bench.report import Figures, percent, print_table


def print_simulated(results: Sequence[Simulated], title: str, console: Console) -> None:
    rows = [
        (
            result.trace.name if number == 0 else "",
            row.policy,
            f"{row.over_target_s:,}",
            percent(row.work_over_target),
            f"{row.wait_p95_s:.0f} / {row.longest_wait_s:.0f}",
            f"{row.over_ideal:.2f}",
            str(row.flaps),
        )
        for result in results
        for number, row in enumerate(result.figures)
    ]
    columns = ("trace", "policy", "late, s", "late work", "wait p95 / max, s", "cost / ideal", "flaps")
    print_table(console, title, columns, rows, labels=2)


def print_live(rows: Sequence[Figures], console: Console) -> None:
    cells = [
        (
            row["trace"],
            row["policy"],
            str(row["requests"]),
            str(row["refused"]),
            str(row["failed"]),
            f"{row['latency_p50_s']:.2f} / {row['latency_p95_s']:.2f}",
            f"{row['replica_s']:.0f}",
            f"{row['least_replicas']} to {row['most_replicas']}",
        )
        for row in rows
    ]
    columns = ("trace", "policy", "sent", "429", "failed", "p50 / p95, s", "replica-s", "replicas")
    print_table(console, "real Serve, simulated scorers", columns, cells, labels=2)
