"""The figures of `reranker bench fidelity` on the console."""

from __future__ import annotations

from rich.console import Console

from cluster.bench.report import Figures, print_machine, print_table


def print_fidelity(result: Figures, console: Console) -> None:
    rows = [
        (
            row["name"],
            row["recipe"],
            row["forward"],
            str(row["cut_pairs"]),
            f"{row['logit_deviation']:.2f}",
            f"{row['max_difference_float32']:.1e}",
            f"{row['rms_bfloat16']:.2g} / {row['rms_bfloat16_reference']:.2g}",
            f"{row['tau_bfloat16']:.4f} / {row['tau_bfloat16_reference']:.4f}",
        )
        for row in result["models"]
    ]
    settings = result["settings"]
    print_table(
        console,
        f"random weights, {settings['layers']} layers, {settings['pairs']} pairs of at most "
        f"{settings['max_pair_tokens']} tokens; bfloat16: ours / Hugging Face's own",
        ("shape", "recipe", "forward", "cut", "std of logits", "max |Δ| float32", "rms bfloat16", "tau bfloat16"),
        rows,
        labels=3,
    )
    print_machine(console, result["machine"])
