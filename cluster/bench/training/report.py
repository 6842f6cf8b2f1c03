"""The figures of `reranker bench train` on the console."""

from __future__ import annotations

from rich.console import Console

from cluster.bench.report import Figures, print_machine, print_table, shown, times
from cluster.bench.training.contenders import PACKED


def print_training(result: Figures, console: Console) -> None:
    model, roofline = result["model"], result["roofline"]
    rows = [
        (
            row["name"],
            f"{row['tokens_per_s']:.0f}",
            shown(row["roofline_share"], ".0%"),
            "" if row["name"] == PACKED.name else times(row["ratio"]),
            "" if row["name"] == PACKED.name else times(row["cpu_ratio"]),
            shown(row["peak_memory_bytes"], ".2f", 1e-9),
        )
        for row in result["contenders"]
    ]
    print_table(
        console,
        f"{model['name']}, {model['dtype']}, {result['machine']['threads']} threads; "
        f"{result['tokens_per_step']:.0f} tokens per step",
        ("contender", "tokens/s", "of roofline", "reranker is", "by CPU time", "peak GB"),
        [*rows, *([("roofline", f"{roofline['tokens_per_s']:.0f}")] if roofline else [])],
    )
    print_machine(console, result["machine"])
    for row in result["contenders"]:
        for note in row["notes"]:
            console.print(f"{row['name']}: {note}", markup=False)
    for row in result["skipped"]:
        console.print(f"{row['name']} is not installed and was skipped; install it: {row['install']}", markup=False)
    for row in result["failed"]:
        console.print(f"{row['name']} died:\n{row['stderr']}", markup=False)
