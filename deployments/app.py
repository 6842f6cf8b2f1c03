"""The graph as a picture: Gateway -> Tokenizer -> Scorer.

serve run serve_config.laptop.yaml
serve run deployments.app:build_app model=DIR_OR_HUB_ID template=dear
"""

import ray
from ray import serve
from ray.serve import Application

from deployments.gateway import Gateway
from deployments.scorer import Scorer
from deployments.settings import AppSettings
from deployments.tokenizer import Tokenizer
from deployments.tracing import check_installed
from reranker.settings import CheckpointSettings

# The default back-off of Serve's router (25 to 500 ms) leaves replicas idle between forward passes.
_ROUTER_BACKOFF = {"initial_backoff_s": 0.002, "max_backoff_s": 0.01, "backoff_multiplier": 1.5}

# Our own queues decide which work waits and in what order: Serve's queue must never be the one that is full.
_MAX_ONGOING = 4096

# Fractions of a CPU, so that the graph fits two cores: the engine sets its own threads. The `deployments:` section of
# a config file overrides any of this.
gateway = serve.deployment(
    name="Gateway",
    ray_actor_options={"num_cpus": 0.2},
    max_ongoing_requests=_MAX_ONGOING,
)(serve.ingress()(Gateway))
tokenizer = serve.deployment(
    name="Tokenizer",
    ray_actor_options={"num_cpus": 0.2},
    max_ongoing_requests=32,
    request_router_config=_ROUTER_BACKOFF,
)(Tokenizer)
scorer = serve.deployment(
    name="Scorer",
    ray_actor_options={"num_cpus": 0.5},
    max_ongoing_requests=_MAX_ONGOING,
    health_check_period_s=5,
    health_check_timeout_s=30,
    max_constructor_retry_count=2,
    request_router_config=_ROUTER_BACKOFF,
)(Scorer)


def build_app(settings: AppSettings) -> Application:
    """The Serve application. The scorer's constructor refuses a checkpoint that cannot be served.

    Raises InvalidField where tracing is on and its extra is not installed.
    """
    if settings.tracing.enabled:
        check_installed()
    checkpoint, tracing = settings.checkpoint, settings.tracing
    return gateway.bind(
        settings,
        tokenizer.bind(checkpoint, tracing=tracing),
        scorer.options(ray_actor_options=_scorer_resources(checkpoint)).bind(checkpoint, settings.engine, tracing),
    )


def _scorer_resources(checkpoint: CheckpointSettings) -> dict[str, float]:
    """One whole GPU per replica if GPUs are used; device "auto" uses them if the cluster has any."""
    has_gpus = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) >= 1
    if checkpoint.device.startswith("cuda") or (checkpoint.device == "auto" and has_gpus):
        return {"num_cpus": 0.5, "num_gpus": 1}
    return {"num_cpus": 0.5}
