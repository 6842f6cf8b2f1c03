"""Figures of an engine benchmark: one JSON object, and a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy import stats

from cluster.bench.engine.contender import GEMM, RERANKER, Contender
from cluster.bench.engine.rounds import Measured
from cluster.bench.roofline import Work


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What a round asks for. work: None where the architecture is not counted."""

    documents: int
    pair_tokens: int
    work: Work | None


def report(
    measured: Sequence[Measured], skipped: Sequence[Contender], rounds: Sequence[RoundFacts]
) -> dict[str, Any]:
    """contenders, ratios, roofline, roofline_share, skipped and failed.

    ratios: our documents a second over a peer's, the median over rounds that both did. roofline_share: the seconds
    that the arithmetic needed would take at the speed the matrices were multiplied with in the same round, over
    those it took: needed is what `reranker.roofline` counts, so padding or reading a prefix twice lowers it.
    kendall_tau, max_difference: a contender's logits against ours, the mean over rounds and the worst of all.
    """
    by_name = {result.name: result for result in measured}
    ours, gemm = by_name[RERANKER.name], by_name.get(GEMM.name)
    finished = [result for result in measured if result.died is None]
    contenders = [
        _contender(result, ours, gemm if gemm and gemm.died is None else None, rounds)
        for result in finished
        if result.name != GEMM.name
    ]
    shares = {row["name"]: row["roofline_share"] for row in contenders}
    return {
        "contenders": contenders,
        "ratios": {row["name"]: row["reranker_ratio"] for row in contenders if row["name"] != RERANKER.name},
        "roofline_share": shares.get(RERANKER.name),
        "roofline": _roofline(gemm, rounds),
        "pairs": {
            "mean_tokens": sum(facts.pair_tokens for facts in rounds) / sum(facts.documents for facts in rounds),
            "documents": sum(facts.documents for facts in rounds),
        },
        "skipped": [{"name": peer.name, "install": peer.install_command} for peer in skipped],
        "failed": [{"name": result.name, "stderr": result.died} for result in measured if result.died is not None],
    }


def _contender(
    result: Measured, ours: Measured, gemm: Measured | None, rounds: Sequence[RoundFacts]
) -> dict[str, Any]:
    seconds = [answer["seconds"] for answer in result.answers]
    row: dict[str, Any] = {
        "name": result.name,
        "docs_per_s": median(facts.documents / taken for facts, taken in zip(rounds, seconds, strict=True)),
        "tokens_per_s": median(facts.pair_tokens / taken for facts, taken in zip(rounds, seconds, strict=True)),
        "peak_memory_bytes": result.peak_memory_bytes,
        "peak_device_bytes": result.answers[-1].get("device_bytes"),
        "roofline_share": None,
        "reranker_ratio": None,
        "kendall_tau": None,
        "max_difference": None,
        "seconds": seconds,
        **result.facts,
    }
    if gemm is not None:
        row["roofline_share"] = median(
            facts.work.flops / roof["flops_per_s"] / taken
            for facts, roof, taken in zip(rounds, gemm.answers, seconds, strict=True)
            if facts.work is not None
        )
    if all("tokenizing_s" in answer for answer in result.answers):
        row["tokenizing_share"] = median(answer["tokenizing_s"] / answer["seconds"] for answer in result.answers)
    if ours.died is None:
        pairs = list(zip(result.answers, ours.answers, strict=True))
        row["reranker_ratio"] = median(theirs["seconds"] / own["seconds"] for theirs, own in pairs)
        row |= _agreement([(theirs["scores"], own["scores"]) for theirs, own in pairs])
    return row


def _agreement(pairs: Sequence[tuple[list[float], list[float]]]) -> dict[str, float | None]:
    """None for a tau that is not defined: one document, or a contender that gives all the same score."""
    taus = [float(stats.kendalltau(theirs, own).statistic) for theirs, own in pairs if len(own) > 1]
    tau = fmean(taus) if taus else np.nan
    difference = max(float(np.abs(np.subtract(theirs, own)).max()) for theirs, own in pairs)
    return {"kendall_tau": None if np.isnan(tau) else tau, "max_difference": difference}


def _roofline(gemm: Measured | None, rounds: Sequence[RoundFacts]) -> dict[str, float] | None:
    """None where nothing was multiplied: the architecture is not counted, or the process died."""
    if gemm is None or gemm.died is not None:
        return None
    flops_per_s = median(answer["flops_per_s"] for answer in gemm.answers)
    works = [facts.work for facts in rounds if facts.work is not None]
    flops_per_document = sum(work.flops for work in works) / sum(work.pairs for work in works)
    return {
        "gemm_flops_per_s": flops_per_s,
        "flops_per_document": flops_per_document,
        "docs_per_s": flops_per_s / flops_per_document,
        "tokens_computed_per_document": sum(work.tokens for work in works) / sum(work.pairs for work in works),
    }


def print_report(result: dict[str, Any], console: Console) -> None:
    model, machine = result["model"], result["machine"]
    table = Table(
        title=f"{escape(model['name'])}, {model['dtype']}, {machine['threads']} threads, {escape(machine['cpu'])}; "
        f"{result['pairs']['mean_tokens']:.0f} tokens a pair",
        title_justify="left",
    )
    for column in ("contender", "docs/s", "tokens/s", "of roof", "we are", "GB", "tau", "max |Δ|"):
        table.add_column(column, justify="left" if column == "contender" else "right", no_wrap=True)
    for row in result["contenders"]:
        ratio = None if row["name"] == RERANKER.name else row["reranker_ratio"]
        table.add_row(
            row["name"],
            f"{row['docs_per_s']:.1f}",
            f"{row['tokens_per_s']:.0f}",
            _shown(row["roofline_share"], "{:.0%}"),
            _shown(ratio, "{:.2f} x"),
            _shown(row["peak_memory_bytes"], "{:.2f}", 1e9),
            _shown(row["kendall_tau"], "{:.3f}"),
            _shown(row["max_difference"], "{:.2g}"),
        )
    if result["roofline"]:
        table.add_row("roofline", f"{result['roofline']['docs_per_s']:.1f}", end_section=True)
    console.print(table)
    for row in result["contenders"]:
        if share := row.get("tokenizing_share"):
            console.print(f"{row['name']}: {share:.1%} of its time is tokenizing")
        for note in row["notes"]:
            console.print(f"{row['name']}: {note}", markup=False)
    for row in result["skipped"]:
        console.print(f"{row['name']} is not installed and was skipped: {row['install']}", markup=False)
    for row in result["failed"]:
        console.print(f"{row['name']} died:\n{row['stderr']}", markup=False)


def _shown(value: float | None, form: str, unit: float = 1.0) -> str:
    return "" if value is None else form.format(value / unit)
