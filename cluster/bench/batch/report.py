"""The figures of `reranker bench batch` on the console."""

from __future__ import annotations

from rich.console import Console

from cluster.bench.report import Figures, percent, print_machine, print_table

_ROLES = ("driver", "reader", "encoder", "scorer", "object store")


def print_batch(result: Figures, console: Console) -> None:
    if throughput := result.get("throughput"):
        rows = [
            ("engine alone", f"{throughput['engine_pairs_per_s']:.1f}", ""),
            ("job, once warm", f"{throughput['job_pairs_per_s']:.1f}", percent(throughput["ratio"])),
            ("job, with startup", f"{throughput['whole_job_pairs_per_s']:.1f}", ""),
        ]
        title = f"throughput: {throughput['model']}, {throughput['pairs']:,} pairs"
        print_table(console, title, ("", "pairs/s", "of engine"), rows)
    if result["memory"]:
        title = "memory: steady / peak MB of the largest process per role"
        print_table(
            console, title, ("rows", "seconds", "planning", *_ROLES), map(_memory, result["memory"]), labels=0
        )
    if result["scaling"]:
        pools = [
            (str(row["scorers"]), f"{row['pairs_per_s']:.0f}", percent(row["efficiency"]), percent(row["busy"]))
            for row in result["scaling"]
        ]
        title = "scaling: simulated scorers"
        print_table(console, title, ("scorers", "pairs/s", "efficiency", "busy"), pools, labels=0)
    print_machine(console, result["machine"])


def _memory(row: Figures) -> list[str]:
    steady, peak = row["steady_bytes"], row["peak_bytes"]
    cells = [f"{steady.get(role, 0) / 1e6:.0f} / {peak.get(role, 0) / 1e6:.0f}" for role in _ROLES]
    return [f"{row['rows']:,}", f"{row['seconds']:.1f}", f"{row['plan_seconds']:.1f}", *cells]
