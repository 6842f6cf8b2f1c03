"""A forecast as a table in Markdown, so that it can be pasted into a page, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from cluster.planning.forecast import Forecast, Refused
from cluster.planning.gpus import GPUS, MEASURED_GPU
from cluster.planning.plan import HTTP_SHARE, JOB_SHARE, TARGET_UTILISATION, JobPlan, Limit, ServicePlan
from cluster.planning.replica import Replica

_SERVICE = ("GPU", "GPUs", "busy", "alone", "p50", "p99", "memory", "cost", "breaks first")
_JOB = ("GPU", "GPUs", "hours", "pairs/s", "memory", "cost")


def to_json(forecast: Forecast) -> dict[str, Any]:
    """Times in seconds, memory in bytes. A GPU that cannot do it has `refused` and nothing else."""
    return {
        "asked": forecast.asked.model_dump(),
        "max_pair_tokens": forecast.model.max_pair_tokens,
        "request": asdict(forecast.request),
        "plans": [_plan_json(plan) for plan in forecast.plans],
    }


def _plan_json(plan: ServicePlan | JobPlan | Refused) -> dict[str, Any]:
    if isinstance(plan, Refused):
        return {"gpu": plan.device, "refused": plan.reason}
    gpu = GPUS.get(plan.replica.device)
    return {"gpu": plan.replica.device, **asdict(plan), "source": None if gpu is None else gpu.source}


def lines(forecast: Forecast) -> Iterator[str]:
    """Markdown: a row for each GPU, then what the figures assume."""
    request = forecast.request
    yield (
        f"{forecast.model.name}: {request.documents:,} documents of {request.tokens} tokens behind "
        f"{request.query_tokens} of the query"
    )
    if request.tokens < forecast.asked.tokens:
        yield f"(documents are cut: the model reads {forecast.model.max_pair_tokens} tokens a pair)"
    yield ""
    columns = _JOB if any(isinstance(plan, JobPlan) for plan in forecast.plans) else _SERVICE
    yield _row(columns)
    yield _row(["---"] * len(columns))
    for plan in forecast.plans:
        yield _row(_cells(plan, len(columns)))
    yield ""
    yield from _notes(forecast)


def _cells(plan: ServicePlan | JobPlan | Refused, columns: int) -> list[str]:
    if isinstance(plan, Refused):
        return [plan.device, plan.reason, *[""] * (columns - 2)]
    device, memory = plan.replica.device, _memory(plan.replica)
    cost = _cost(plan)
    if isinstance(plan, JobPlan):
        return [device, f"{plan.gpus:,}", f"{plan.seconds / 3600:,.2f}", f"{plan.pairs_per_s:,.0f}", memory, cost]
    return [
        device,
        f"{plan.replicas:,}",
        f"{plan.utilisation:.0%}",
        _ms(plan.lone_s),
        _ms(plan.latency.p50_s),
        _ms(plan.latency.p99_s),
        memory,
        cost,
        _limit(plan.limits[0]),
    ]


def _notes(forecast: Forecast) -> Iterator[str]:
    yield "Latencies in ms, memory of one GPU in GB: needed / there; cost: per million pairs"
    plans = [plan for plan in forecast.plans if not isinstance(plan, Refused)]
    if any(isinstance(plan, ServicePlan) for plan in plans):
        yield (
            f"Busy: at most {TARGET_UTILISATION:.0%} of the time, as autoscaling plans; HTTP keeps {HTTP_SHARE:.0%} "
            "of the engine's speed"
        )
    elif plans:
        yield f"Weights must still be loaded; the job keeps {JOB_SHARE:.0%} of the engine's speed"
    if len(plans) == 1 and isinstance(plans[0], ServicePlan):
        yield f"What breaks: {'; '.join(map(_limit, plans[0].limits))}"
    for plan in plans:
        if len(plans) == 1 or plan.replica.device == MEASURED_GPU:
            yield from _replica_notes(plan.replica)
    if len(plans) > 1:
        yield f"All GPUs: the share of peak that was measured on the {MEASURED_GPU}, and nowhere else"


def _replica_notes(replica: Replica) -> Iterator[str]:
    gpu = GPUS.get(replica.device)
    speed = f"{replica.device}: {replica.pair_tokens_per_s:,.0f} tokens of pairs/s"
    if replica.share_of_peak is not None and gpu is not None:
        speed += f", {replica.share_of_peak:.0%} of {gpu.peak_flops / 1e12:g} dense bf16 TFLOP/s"
    yield f"{speed}: {replica.why}"
    yield (
        f"{replica.device}: at most {replica.pass_tokens:,} tokens a pass ({1000 * replica.pass_s:,.0f} ms), "
        f"{replica.weights_bytes / 1e9:.1f} GB of weights, {replica.shards} shard(s) a request"
    )
    if gpu is not None:
        yield f"{replica.device}: figures from {gpu.source}"


def _limit(limit: Limit) -> str:
    return f"{limit.name}, at {limit.factor:.2f} x the {limit.what}"


def _cost(plan: ServicePlan | JobPlan) -> str:
    if plan.cost_per_million_pairs is None:
        return f"{plan.gpu_hours_per_million_pairs:,.2f} GPU-hours"
    return f"{plan.cost_per_million_pairs:,.2f}"


def _memory(replica: Replica) -> str:
    there = "" if replica.memory_bytes is None else f" / {replica.memory_bytes / 1e9:.0f}"
    return f"{replica.needed_bytes / 1e9:.1f}{there}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
