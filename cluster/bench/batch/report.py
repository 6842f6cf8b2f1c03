"""The figures of `reranker bench batch` as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_batch(result: dict[str, Any], console: Console) -> None:
    if throughput := result.get("throughput"):
        table = Table(title=f"{throughput['model']}, {throughput['pairs']:,} pairs", title_justify="left")
        for column in ("", "pairs/s"):
            table.add_column(column, justify="right" if column else "left")
        table.add_row("the engine alone", f"{throughput['engine_pairs_per_s']:.1f}")
        table.add_row("the job, once warm", f"{throughput['job_pairs_per_s']:.1f} ({throughput['ratio']:.1%})")
        table.add_row("the job, start-up included", f"{throughput['whole_job_pairs_per_s']:.1f}")
        console.print(table)
    if result["memory"]:
        roles = ("driver", "reader", "encoder", "scorer", "object store")
        table = Table(title="MB: steady / peak, of the largest process of each kind", title_justify="left")
        for column in ("rows", "seconds", "of it planning", *roles):
            table.add_column(column, justify="right")
        for row in result["memory"]:
            cells = [
                f"{row['steady_bytes'].get(role, 0) / 1e6:.0f} / {row['peak_bytes'].get(role, 0) / 1e6:.0f}"
                for role in roles
            ]
            table.add_row(f"{row['rows']:,}", f"{row['seconds']:.1f}", f"{row['plan_seconds']:.1f}", *cells)
        console.print(table)
    if result["scaling"]:
        table = Table(title="scorers that sleep for the device's time", title_justify="left")
        for column in ("scorers", "pairs/s", "efficiency", "busy"):
            table.add_column(column, justify="right")
        for row in result["scaling"]:
            table.add_row(
                str(row["scorers"]), f"{row['pairs_per_s']:.0f}", f"{row['efficiency']:.1%}", f"{row['busy']:.1%}"
            )
        console.print(table)
