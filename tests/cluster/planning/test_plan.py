"""Plans of a load: what always holds, one counted by hand, and forecasts beside what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.planning.demand import Request
from cluster.planning.gpus import GPUS, Gpu
from cluster.planning.models import planned_model
from cluster.planning.plan import (
    HTTP_OVERHEAD_S,
    HTTP_SHARE,
    JOB_SHARE,
    JOB_START_S,
    TARGET_UTILISATION,
    ServicePlan,
    latency_of,
    plan_job,
    plan_service,
)
from cluster.planning.queueing import run
from cluster.planning.replica import Replica, replica_on
from reranker.engine.memory import MemoryPlan
from reranker.errors import CheckpointError, InvalidField

LLAMA = planned_model("llama-3.1-8b")
MODELS = [planned_model(name) for name in ("12x576", "llama-3.1-8b", "BAAI/bge-reranker-v2-m3")]
MS_MARCO = Request(documents=100, tokens=85, query_tokens=11)

requests = st.builds(Request, st.integers(1, 1_000), st.integers(1, 200), st.integers(1, 28))
rates = st.floats(0.01, 10)
gpus = st.sampled_from(list(GPUS.values()))
models = st.sampled_from(MODELS)
shards = st.just(2)  # each number is simulated anew


def on(gpu: Gpu, request: Request = MS_MARCO, pieces: int = 1) -> Replica:
    return replica_on(gpu, LLAMA, request, pieces, None)


def service(replica: Replica, rate: float, request: Request, p99_s: float | None = None) -> ServicePlan | None:
    """None if it is impossible."""
    try:
        return plan_service(replica, rate, rate * request.documents, p99_s, 1.0)
    except InvalidField:
        return None


@settings(deadline=None)
@given(models, gpus, requests, shards, rates, st.floats(1, 3), st.none() | st.floats(0.05, 20))
def test_more_requests_never_need_fewer_gpus(model, gpu, request, pieces, rate, more, p99_s):  # type: ignore[no-untyped-def]
    replica = replica_on(gpu, model, request, pieces, None)
    few, many = (service(replica, rate * factor, request, p99_s) for factor in (1, more))
    if few is None:
        assert many is None
    elif many is not None:
        assert many.replicas >= few.replicas


@settings(deadline=None)
@given(models, gpus, requests, shards, rates, st.floats(1, 5), st.none() | st.floats(0.05, 20))
def test_a_faster_gpu_is_never_needed_more_often(model, gpu, request, pieces, rate, factor, p99_s):  # type: ignore[no-untyped-def]
    faster = replace(
        gpu, peak_flops=gpu.peak_flops * factor, bandwidth_bytes_per_s=gpu.bandwidth_bytes_per_s * factor
    )
    slow, fast = (
        service(replica_on(each, model, request, pieces, None), rate, request, p99_s) for each in (gpu, faster)
    )
    if slow is not None:
        assert fast is not None
        assert fast.replicas <= slow.replicas


@settings(deadline=None)
@given(gpus, requests, shards, st.integers(1, 200), st.floats(0, 0.95), st.floats(0, 0.95))
def test_latency_grows_with_the_load(gpu, request, pieces, replicas, one, other):  # type: ignore[no-untyped-def]
    replica = on(gpu, request, pieces)
    low, high = (latency_of(replica, replicas, load) for load in sorted((one, other)))
    assert low.p50_s <= high.p50_s
    assert low.p99_s <= high.p99_s
    assert low.p50_s <= low.p99_s


@settings(deadline=None)
@given(models, gpus, requests, shards, rates, st.none() | st.floats(0.05, 20))
def test_a_plan_keeps_its_promises(model, gpu, request, pieces, rate, p99_s):  # type: ignore[no-untyped-def]
    replica = replica_on(gpu, model, request, pieces, None)
    plan = service(replica, rate, request, p99_s)
    if plan is None:
        return
    assert 0 < plan.utilisation <= TARGET_UTILISATION + 1e-9
    # Conservation: what arrives is what busy replicas do.
    assert plan.utilisation * plan.replicas == pytest.approx(rate * replica.request_s / HTTP_SHARE)
    assert p99_s is None or plan.latency.p99_s <= p99_s
    assert replica.needed_bytes <= gpu.memory_bytes
    assert all(limit.factor >= 1 for limit in plan.limits)
    traffic = [limit.factor for limit in plan.limits if limit.name != "memory"]
    assert traffic == sorted(traffic)
    assert plan.cost_per_million_pairs == pytest.approx(plan.replicas / (rate * request.documents) * 1e6 / 3600)


def test_llama_8b_on_an_l4_equals_the_count_by_hand() -> None:
    """100 documents of 85 tokens behind 11 of the query, one request per second."""
    # A layer: fused q, k, v; attention output; gate and up; down.
    layer = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 4096 * 2 * 14_336 + 14_336 * 4096
    key_value = 4096 * 2 * 1024
    tokens = 11 + 100 * 85  # the query once
    linear = 2 * tokens * (31 * layer + key_value) + 2 * 100 * (layer - key_value + 4096)
    keys = 11 * 12 // 2 + 100 * (85 * 86 // 2 + 11 * 85)
    attention = 4 * 4096 * (31 * keys + 100 * 96)
    request_s = (linear + attention) / (121e12 * 0.51)
    assert request_s == pytest.approx(1.872, abs=0.001)

    replica = on(GPUS["l4"])
    assert replica.request_s == pytest.approx(request_s)
    assert replica.pair_tokens_per_s == pytest.approx(9600 / request_s)
    assert replica.pass_tokens == int(0.3 * 9600 / request_s)  # a pass may take 300 ms
    assert replica.lone_shard_s == pytest.approx(request_s)  # longer than the 50 ms that reading the weights takes
    memory = MemoryPlan.of(LLAMA.shape, 2, max_pair_tokens=228, gpu=True)
    assert replica.needed_bytes == memory.bytes_for(replica.pass_tokens)

    plan = plan_service(replica, 1.0, 100.0, None, 0.8)
    assert plan.replicas == 3  # 1.872 / 0.96 busy, at most 80 % each
    assert plan.utilisation == pytest.approx(request_s / 0.96 / 3)
    assert plan.lone_s == pytest.approx(HTTP_OVERHEAD_S + request_s / 0.96)
    assert plan.cost_per_million_pairs == pytest.approx(3 * 0.8 / 3600 / 100 * 1e6)
    assert plan.limits[0].name == "queue"
    one_pair = on(GPUS["l4"], Request(1, 85, 11))
    assert one_pair.lone_shard_s == pytest.approx(LLAMA.shape.weights_bytes(2) / 300e9)


def test_a_job_takes_its_start_and_its_pairs() -> None:
    replica = on(GPUS["h200"])
    job = plan_job(replica, 10**8, 100, 8, 3.0)
    assert job.seconds == pytest.approx(JOB_START_S + 10**6 * replica.request_s / (8 * JOB_SHARE))
    assert job.cost == pytest.approx(job.seconds / 3600 * 8 * 3.0)
    assert plan_job(replica, 10**8, 100, 16, None).seconds < job.seconds


def test_the_engine_forecast_on_an_h200_is_what_was_measured() -> None:
    """448 documents/s and 42,862 tokens/s: docs/benchmarks.md."""
    replica = on(GPUS["h200"])
    assert 100 / replica.request_s == pytest.approx(448, rel=0.05)
    assert replica.pair_tokens_per_s == pytest.approx(42_862, rel=0.05)


LAPTOP = Request(documents=100, tokens=87, query_tokens=12)  # a pair of the HTTP benchmarks has 99.5 tokens


@pytest.mark.parametrize(
    ("documents", "tokens_per_s", "measured_s"),
    [
        (1, 40_000, 0.0173),  # bench http, overhead
        (10, 40_000, 0.047),  # bench http, mixed: small requests alone
        (100, 16_100, 0.68),  # the embedded model itself on two cores
    ],
)
def test_lone_requests_of_the_laptop_graph_are_within_a_fifth_of_what_was_measured(
    documents: int, tokens_per_s: float, measured_s: float
) -> None:
    """Medians in docs/benchmarks.md."""
    replica = replica_on(None, MODELS[0], replace(LAPTOP, documents=documents), 1, tokens_per_s)
    assert latency_of(replica, 1, 0.0).p50_s == pytest.approx(measured_s, rel=0.2)


def test_p99_of_the_laptop_graph_under_load_is_within_a_fifth_of_what_was_measured() -> None:
    """bench http, soak: 819 requests at 2.7 per second, p99 2.9 s.

    So short a run has a p99 of its own, usually below that of a steady load: runs of the same length are compared.
    """
    replica = replica_on(None, MODELS[0], LAPTOP, 1, 40_000)
    shard_s = replica.shard_s / HTTP_SHARE
    p99s = []
    for seed in range(40):
        arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / 2.73 / shard_s, 819))
        waits = run(1, 1, arrivals.tolist(), [0] * 819, [0] * 819) - arrivals
        p99s.append(HTTP_OVERHEAD_S + shard_s * np.quantile(waits, 0.99))
    assert np.median(p99s) == pytest.approx(2.9, rel=0.2)
    steady = latency_of(replica, 1, 2.73 * shard_s)
    assert np.median(p99s) < steady.p99_s < np.quantile(p99s, 0.9)


def test_a_p99_below_one_request_alone_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"--p99-ms: 500 ms is below the 1,9\d\d ms that one request alone takes"):
        plan_service(on(GPUS["l4"]), 1.0, 100.0, 0.5, None)
    with pytest.raises(InvalidField, match="needs more than 10,000 replicas on l4"):
        plan_service(on(GPUS["l4"]), 1e9, 1e11, None, None)


def test_a_model_that_does_not_fit_is_refused() -> None:
    big = planned_model("castorini/rankllama-v1-13b-lora-passage")
    with pytest.raises(CheckpointError, match=r"does not fit one L4: the model needs \d+\.\d GB for one pair"):
        replica_on(GPUS["l4"], big, MS_MARCO, 1, None)


def test_a_cpu_needs_a_measured_speed() -> None:
    with pytest.raises(InvalidField, match="--tokens-per-s: is needed with --gpu cpu"):
        replica_on(None, LLAMA, MS_MARCO, 1, None)
