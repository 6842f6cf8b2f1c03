"""One replica of a scorer on one device: whether the model fits, and how long a request takes it."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.planning.demand import Request
from cluster.planning.gpus import MEASURED_GPU, SHARE_OF_PEAK, Gpu
from cluster.planning.models import SHAPES, PlannedModel
from reranker.engine.budget import MIN_PASS_TOKENS
from reranker.engine.memory import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, MemoryPlan
from reranker.errors import CheckpointError, InvalidField
from reranker.settings import ScorerSettings

CPU = "cpu"
MEASURED_SHAPE = SHAPES["llama-3.1-8b"]
_NUMBER_BYTES = 2  # bfloat16


@dataclass(frozen=True, slots=True)
class Replica:
    """Speed and memory of the engine on one device, for requests of one kind.

    request_s: device time of a request in full batches. lone_shard_s: of one of its shards that has the device for
    itself: not less than the weights take to be read once. pass_tokens: of a batch, at most; pass_s: its time.
    needed_bytes: at pass_tokens, of memory_bytes; the latter is None on a CPU. why: where the speed comes from.
    """

    device: str
    shards: int
    request_s: float
    lone_shard_s: float
    pass_tokens: int
    pass_s: float
    pair_tokens_per_s: float
    weights_bytes: int
    needed_bytes: int
    memory_bytes: float | None
    share_of_peak: float | None
    why: str

    @property
    def shard_s(self) -> float:
        return self.request_s / self.shards


def replica_on(
    device: Gpu | None, model: PlannedModel, request: Request, shards: int, tokens_per_s: float | None
) -> Replica:
    """device: None is a CPU. tokens_per_s: of pairs, measured; by default assumed from the GPU's peak.

    Raises InvalidField for a CPU of unknown speed, and CheckpointError for a model that does not fit.
    """
    memory = MemoryPlan.of(
        model.shape,
        _NUMBER_BYTES,
        max_pair_tokens=model.max_pair_tokens,
        gpu=device is not None,
        attention="varlen" if device is not None else "blocks",
    )
    request_tokens = request.documents * request.pair_tokens
    if tokens_per_s is not None:
        share, why = None, "given as --tokens-per-s"
        request_s = request_tokens / tokens_per_s
    elif device is None:
        raise InvalidField(
            "--tokens-per-s", "is needed with --gpu cpu: take it from /health of a running server, or bench engine"
        )
    else:
        share, why = SHARE_OF_PEAK, _why(device, model)
        request_s = request.work(model.shape).flops / (device.peak_flops * share)
    pair_tokens_per_s = request_tokens / request_s
    pass_tokens = _pass_tokens(device, model, memory, pair_tokens_per_s)
    whole_tokens = int(pass_tokens)
    read_s = model.shape.weights_bytes(_NUMBER_BYTES) / device.bandwidth_bytes_per_s if device is not None else 0.0
    return Replica(
        device=CPU if device is None else device.name,
        shards=shards,
        request_s=request_s,
        lone_shard_s=max(request_s / shards, read_s),
        pass_tokens=whole_tokens,
        pass_s=pass_tokens / pair_tokens_per_s,
        pair_tokens_per_s=pair_tokens_per_s,
        weights_bytes=memory.weights_bytes,
        needed_bytes=memory.bytes_for(whole_tokens),
        memory_bytes=None if device is None else device.memory_bytes,
        share_of_peak=share,
        why=why,
    )


def _pass_tokens(device: Gpu | None, model: PlannedModel, memory: MemoryPlan, tokens_per_s: float) -> float:
    """As many as the time of a pass allows: warm-up takes the largest of some sizes that is not above this.

    Not rounded, so that a faster device never has the longer pass.
    """
    default = CPU_BATCH_TOKENS if device is None else GPU_BATCH_TOKENS
    largest = max(default, model.max_pair_tokens)
    if device is not None:
        try:
            largest = memory.batch_tokens(largest, int(device.memory_bytes), model.max_pair_tokens)
        except CheckpointError as error:
            raise CheckpointError(f"{model.name} does not fit one {device.title}: {error}") from None
    in_time = ScorerSettings().max_pass_ms / 1000 * tokens_per_s
    return min(largest, max(in_time, MIN_PASS_TOKENS, model.max_pair_tokens))


def _why(gpu: Gpu, model: PlannedModel) -> str:
    others = []
    if gpu.name != MEASURED_GPU:
        others.append("this GPU")
    if model.shape != MEASURED_SHAPE:
        others.append("this model")
    measured = "measured on an H200 with the 8B's shape and 95 tokens a pair"
    return f"{measured}; for {' and '.join(others)} assumed, not measured" if others else measured
