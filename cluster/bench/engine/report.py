"""The figures of `reranker bench engine` on the console."""

from __future__ import annotations

from rich.console import Console

from cluster.bench.engine.contender import RERANKER
from cluster.bench.report import Figures, percent, print_machine, print_table, shown, times


def print_engine(result: Figures, console: Console) -> None:
    model, roofline = result["model"], result["roofline"]
    rows = [
        (
            row["name"],
            f"{row['docs_per_s']:.1f}",
            f"{row['tokens_per_s']:.0f}",
            shown(row["roofline_share"], ".0%"),
            "" if row["name"] == RERANKER.name else times(row["reranker_ratio"]),
            shown(row["peak_memory_bytes"], ".2f", 1e-9),
            shown(row["kendall_tau"], ".3f"),
            shown(row["max_difference"], ".2g"),
        )
        for row in result["contenders"]
    ]
    print_table(
        console,
        f"{model['name']}, {model['dtype']}, {result['machine']['threads']} threads; "
        f"{result['pairs']['mean_tokens']:.0f} tokens per pair",
        ("contender", "docs/s", "tokens/s", "of roofline", "reranker is", "peak GB", "tau", "max |Δ|"),
        [*rows, *([("roofline", f"{roofline['docs_per_s']:.1f}")] if roofline else [])],
    )
    print_machine(console, result["machine"])
    for row in result["contenders"]:
        notes = [f"{percent(share)} of the time is tokenizing"] if (share := row.get("tokenizing_share")) else []
        for note in [*notes, *row["notes"]]:
            console.print(f"{row['name']}: {note}", markup=False)
    for row in result["skipped"]:
        console.print(f"{row['name']} is not installed and was skipped; install it: {row['install']}", markup=False)
    for row in result["failed"]:
        console.print(f"{row['name']} died:\n{row['stderr']}", markup=False)
