"""What contenders measured, as figures: speed, share of the roofline, agreement with our scores. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from scipy import stats

from cluster.bench.engine.contender import GEMM, RERANKER, Contender
from cluster.bench.engine.rounds import Measured
from cluster.bench.report import Figures, median_ratio
from cluster.bench.roofline import Work


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """Work of one round. work: None if the roofline does not know the architecture."""

    documents: int
    pair_tokens: int
    work: Work | None


def figures(measured: Sequence[Measured], skipped: Sequence[Contender], rounds: Sequence[RoundFacts]) -> Figures:
    """contenders, ratios, roofline, roofline_share, pairs, skipped and failed.

    ratios: our documents/s over a peer's, the median over rounds that both finished. roofline_share: the time that
    the necessary FLOPs would take at the GEMM speed of the same round, over the time taken; `roofline.needed_work`
    counts them, so that padding or computing a prefix twice lowers the share. kendall_tau and max_difference compare
    a contender's logits with ours: the mean over rounds, and the maximum.
    """
    by_name = {result.name: result for result in measured}
    ours, gemm = by_name[RERANKER.name], by_name.get(GEMM.name)
    gemm = gemm if gemm and gemm.died is None else None
    contenders = [
        _contender(result, ours, gemm, rounds)
        for result in measured
        if result.died is None and result.name != GEMM.name
    ]
    shares = {row["name"]: row["roofline_share"] for row in contenders}
    documents = sum(facts.documents for facts in rounds)
    return {
        "contenders": contenders,
        "ratios": {row["name"]: row["reranker_ratio"] for row in contenders if row["name"] != RERANKER.name},
        "roofline_share": shares.get(RERANKER.name),
        "roofline": _roofline(gemm, rounds),
        "pairs": {"mean_tokens": sum(facts.pair_tokens for facts in rounds) / documents, "documents": documents},
        "skipped": [{"name": peer.name, "install": peer.install_command} for peer in skipped],
        "failed": [{"name": result.name, "stderr": result.died} for result in measured if result.died is not None],
    }


def _contender(result: Measured, ours: Measured, gemm: Measured | None, rounds: Sequence[RoundFacts]) -> Figures:
    seconds = result.column("seconds")
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
            facts.work.flops / flops_per_s / taken
            for facts, flops_per_s, taken in zip(rounds, gemm.column("flops_per_s"), seconds, strict=True)
            if facts.work is not None
        )
    if all("tokenizing_s" in answer for answer in result.answers):
        row["tokenizing_share"] = median_ratio(result.column("tokenizing_s"), seconds)
    if ours.died is None:
        row["reranker_ratio"] = median_ratio(seconds, ours.column("seconds"))
        row |= _agreement(list(zip(result.column("scores"), ours.column("scores"), strict=True)))
    return row


def _agreement(pairs: Sequence[tuple[list[float], list[float]]]) -> dict[str, float | None]:
    """kendall_tau is None where it is undefined: with one document, or if a contender's scores are all equal."""
    taus = [float(stats.kendalltau(theirs, own).statistic) for theirs, own in pairs if len(own) > 1]
    tau = fmean(taus) if taus else np.nan
    difference = max(float(np.abs(np.subtract(theirs, own)).max()) for theirs, own in pairs)
    return {"kendall_tau": None if np.isnan(tau) else tau, "max_difference": difference}


def _roofline(gemm: Measured | None, rounds: Sequence[RoundFacts]) -> dict[str, float] | None:
    """None without GEMM measurements."""
    if gemm is None:
        return None
    flops_per_s = median(gemm.column("flops_per_s"))
    works = [facts.work for facts in rounds if facts.work is not None]
    pairs = sum(work.pairs for work in works)
    flops_per_document = sum(work.flops for work in works) / pairs
    return {
        "gemm_flops_per_s": flops_per_s,
        "flops_per_document": flops_per_document,
        "docs_per_s": flops_per_s / flops_per_document,
        "tokens_computed_per_document": sum(work.tokens for work in works) / pairs,
    }
