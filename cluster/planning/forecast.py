"""From settings to a plan for each GPU that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.planning.demand import Request
from cluster.planning.gpus import GPUS, Gpu
from cluster.planning.models import PlannedModel, planned_model
from cluster.planning.plan import JobPlan, ServicePlan, plan_job, plan_service
from cluster.planning.replica import CPU, Replica, replica_on
from cluster.planning.settings import PlanSettings
from reranker.errors import InvalidField, RerankerError
from reranker.settings import LimitsSettings

ALL = "all"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a GPU cannot do it."""

    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """request: as the model reads it. One plan for each device."""

    asked: PlanSettings
    model: PlannedModel
    request: Request
    plans: tuple[ServicePlan | JobPlan | Refused, ...]


def forecast_service(settings: PlanSettings) -> Forecast:
    """Raises InvalidField and CheckpointError. Of all GPUs, those that cannot do it are Refused, unless none can."""
    rate = settings.requests_per_s
    if rate is None:
        raise InvalidField("--requests-per-s", "is needed, or --batch with --pairs for a job")
    if settings.pairs is not None:
        raise InvalidField("--pairs", "is of a job: add --batch, or leave it out")
    limit = LimitsSettings().max_documents
    if settings.documents > limit:
        raise InvalidField(
            "--documents", f"{settings.documents} is above the {limit} that a request may have: split it"
        )
    p99_s = None if settings.p99_ms is None else settings.p99_ms / 1000

    def plan(replica: Replica, request: Request) -> ServicePlan:
        return plan_service(replica, rate, rate * request.documents, p99_s, settings.price_per_hour)

    return _forecast(settings, plan)


def forecast_job(settings: PlanSettings) -> Forecast:
    """Raises as forecast_service."""
    pairs = settings.pairs
    if pairs is None:
        raise InvalidField("--pairs", "is needed with --batch")
    for option, value in (("--requests-per-s", settings.requests_per_s), ("--p99-ms", settings.p99_ms)):
        if value is not None:
            raise InvalidField(option, "is not of a job: leave it out, or leave --batch out")

    def plan(replica: Replica, request: Request) -> JobPlan:
        return plan_job(replica, pairs, request.documents, settings.gpus, settings.price_per_hour)

    return _forecast(settings, plan)


def _forecast(settings: PlanSettings, plan: Callable[[Replica, Request], ServicePlan | JobPlan]) -> Forecast:
    if settings.gpu == ALL and settings.tokens_per_s is not None:
        raise InvalidField("--tokens-per-s", "is of one device: name it with --gpu")
    model = planned_model(settings.model)
    request = Request(settings.documents, settings.tokens, settings.query_tokens).cut_to(model.max_pair_tokens)

    def on(device: Gpu | None) -> ServicePlan | JobPlan:
        shards = request.shards(settings.shard_chars)
        return plan(replica_on(device, model, request, shards, settings.tokens_per_s), request)

    if settings.gpu != ALL:
        return Forecast(settings, model, request, (on(None if settings.gpu == CPU else GPUS[settings.gpu]),))
    plans: list[ServicePlan | JobPlan | Refused] = []
    for gpu in GPUS.values():  # the fastest last
        try:
            plans.append(on(gpu))
        except RerankerError as error:
            plans.append(Refused(gpu.name, str(error)))
            last = error
    if all(isinstance(each, Refused) for each in plans):
        raise last
    return Forecast(settings, model, request, tuple(plans))
