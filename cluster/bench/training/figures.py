"""What contenders measured, as figures: tokens/s, share of the roofline, ratios. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cluster.bench.engine.contender import GEMM, Contender
from cluster.bench.engine.rounds import Measured
from cluster.bench.report import Figures
from cluster.bench.training.contenders import PACKED


@dataclass(frozen=True, slots=True)
class StepFacts:
    """Work of one step. tokens: of its pairs, without padding. flops: that forward and backward need."""

    tokens: int
    flops: int


def figures(measured: Sequence[Measured], skipped: Sequence[Contender], steps: Sequence[StepFacts]) -> Figures:
    """contenders, ratios, roofline, skipped and failed.

    ratios: a peer's median seconds over ours. roofline_share: the median time that the needed FLOPs would take at the
    median GEMM speed, over the median time taken. cpu_ratio: as `ratio`, of the seconds of CPU, which other load on
    the machine changes less.
    """
    alive = {result.name: result for result in measured if result.died is None}
    ours, gemm = alive.get(PACKED.name), alive.get(GEMM.name)
    flops_per_s = median(gemm.column("flops_per_s")) if gemm else None
    rows = [_row(result, ours, flops_per_s, steps) for name, result in alive.items() if name != GEMM.name]
    flops_per_token = sum(step.flops for step in steps) / sum(step.tokens for step in steps)
    return {
        "contenders": rows,
        "ratios": {row["name"]: row["ratio"] for row in rows if row["name"] != PACKED.name},
        "roofline": flops_per_s and {"gemm_flops_per_s": flops_per_s, "tokens_per_s": flops_per_s / flops_per_token},
        "tokens_per_step": sum(step.tokens for step in steps) / len(steps),
        "skipped": [{"name": peer.name, "install": peer.install_command} for peer in skipped],
        "failed": [{"name": result.name, "stderr": result.died} for result in measured if result.died is not None],
    }


def _row(
    result: Measured, ours: Measured | None, flops_per_s: float | None, steps: Sequence[StepFacts]
) -> dict[str, Any]:
    seconds = _seconds(result)
    typical = median(seconds)
    share = flops_per_s and median(step.flops for step in steps) / flops_per_s / typical
    return {
        "name": result.name,
        "tokens_per_s": median(step.tokens for step in steps) / typical,
        "roofline_share": share,
        "ratio": typical / median(_seconds(ours)) if ours else None,
        "cpu_ratio": median(result.column("cpu_s")) / median(ours.column("cpu_s")) if ours else None,
        "seconds": seconds,
        "cpu_s": result.column("cpu_s"),
        "losses": result.column("loss"),
        "peak_memory_bytes": result.peak_memory_bytes,
        **result.facts,
    }


def _seconds(result: Measured) -> list[float]:
    """Of each step; a driver that knows better than the pipe says `step_s`."""
    return [answer.get("step_s", answer["seconds"]) for answer in result.answers]
