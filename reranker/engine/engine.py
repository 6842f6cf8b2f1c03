"""Score encoded pairs with a cross-encoder.

Knows nothing of text, HTTP or Ray: token ids in, logits out, input order kept.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PretrainedConfig

from reranker.checkpoints.files import CheckpointFiles, load_config
from reranker.encoding import PairEncoder
from reranker.engine.allocator import keep_freed_memory
from reranker.engine.memory import CPU_BATCH_TOKENS, CPU_WORKER_TOKENS, GPU_BATCH_TOKENS, MemoryPlan
from reranker.engine.models import ForwardPass, ScoringModel
from reranker.engine.models.loading import load_model, why_no_fast_forward
from reranker.engine.models.simulated import SimulatedModel
from reranker.engine.packing import pack, pack_evenly
from reranker.engine.shape import ModelShape
from reranker.engine.workers import Workers
from reranker.errors import CheckpointError
from reranker.pairs import EncodedPairs, FloatArray
from reranker.settings import CheckpointSettings, EngineSettings

HALF_PRECISION = (torch.bfloat16, torch.float16)


class Engine:
    """Runs one model over any number of pairs, in batches of bounded size. Not thread-safe.

    max_batch_tokens: on the device at once; workers, where there are some, share them (a pass with several pairs may
    exceed its share by one pair). deterministic: one pair a pass, so that company cannot change a score.
    """

    def __init__(
        self,
        model: ScoringModel,
        max_batch_tokens: int,
        *,
        workers: Workers | None = None,
        deterministic: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        self._model = model
        self.max_batch_tokens = max_batch_tokens
        self._workers = workers
        self._deterministic = deterministic
        self.dtype = dtype
        self.device = device

    @property
    def workers(self) -> int:
        """Forward passes that run side by side."""
        return 1 if self._workers is None else self._workers.count

    @property
    def pads(self) -> bool:
        """Whether shorter pairs of a batch cost as much as its longest."""
        return self._model.pads

    def clear_cache(self) -> None:
        """Keep nothing of earlier calls: the next one's logits are a pure function of its pairs."""
        self._model.clear_cache()

    def score(self, pairs: EncodedPairs) -> FloatArray:
        """Logits, float32 (pairs,), in input order. A logit may be NaN where the weights are at fault.

        Which pairs share a forward pass is a pure function of their lengths, and of the workers.
        """
        workers, lengths = self._workers, pairs.lengths
        if workers is not None and len(pairs) < 2 * workers.count and not self._deterministic:
            workers = None  # too few to share out evenly: all threads work on one pass
        if self._deterministic or workers is None:
            batches = pack(lengths, 1 if self._deterministic else self.max_batch_tokens, padded=self._model.pads)
        else:
            batches = pack_evenly(lengths, self.max_batch_tokens // workers.count, workers.count)

        def prepare(batch: NDArray[np.intp]) -> ForwardPass:
            return self._model.prepare(pairs.take(batch))

        # All are launched before any is read, so that a GPU computes one while the next is prepared.
        launched = workers.map(prepare, batches) if workers else [prepare(batch)() for batch in batches]
        logits = np.empty(len(pairs), dtype=np.float32)
        for batch, scores in zip(batches, launched, strict=True):
            logits[batch] = scores.cpu().numpy()
        return logits


def load_engine(
    files: CheckpointFiles, encoder: PairEncoder, checkpoint: CheckpointSettings, settings: EngineSettings
) -> Engine:
    """Put a checkpoint's weights on a device. Sets this process's torch threads. Raises CheckpointError."""
    if settings.simulated_tokens_per_s is not None:
        return Engine(SimulatedModel(settings.simulated_tokens_per_s), settings.max_batch_tokens or CPU_BATCH_TOKENS)
    threads = choose_threads(settings)
    torch.set_num_threads(threads)
    device = choose_device(checkpoint.device)
    config = load_config(files, trust_remote_code=checkpoint.trust_remote_code)
    dtype = choose_dtype(checkpoint.dtype, config.dtype, device)
    workers = choose_workers(settings, config, encoder.max_pair_tokens, device)
    max_batch_tokens = choose_batch_tokens(settings, config, encoder.max_pair_tokens, dtype, device, workers)
    workers = min(workers, max_batch_tokens // encoder.max_pair_tokens)
    model = load_model(
        files,
        config,
        encoder,
        dtype=dtype,
        device=device,
        huggingface=settings.forward == "huggingface",
        trust_remote_code=checkpoint.trust_remote_code,
    )
    if device == "cpu":
        keep_freed_memory()  # after loading, which frees as much as it keeps
    return Engine(
        model,
        max_batch_tokens,
        workers=Workers(workers, threads // workers) if workers > 1 else None,
        deterministic=settings.deterministic,
        dtype=dtype,
        device=device,
    )


def choose_device(wanted: str) -> str:
    """Raises CheckpointError for a device this machine does not have."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError(f"device {wanted}: torch {torch.__version__} sees no CUDA device; use cpu or auto")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise CheckpointError("device mps: torch sees no Apple GPU; use cpu or auto")
    return wanted


def choose_dtype(wanted: str, saved: torch.dtype | str | None, device: str) -> torch.dtype:
    """'auto' keeps the dtype the checkpoint was saved in where the device computes fast in it, else float32.

    Raises CheckpointError for a dtype the device does not have.
    """
    if wanted == "auto":
        return saved if saved in HALF_PRECISION and _is_fast(saved, device) else torch.float32
    dtype: torch.dtype = getattr(torch, wanted)
    if dtype is torch.bfloat16 and device.startswith("cuda") and not _gpu_has_bfloat16():
        raise CheckpointError("this GPU has no bfloat16: use float16 or float32")
    return dtype


def choose_workers(settings: EngineSettings, config: PretrainedConfig, max_pair_tokens: int, device: str) -> int:
    """How many passes run side by side: one for each thread of a CPU; a GPU runs one, and so does a padded model."""
    if (
        device != "cpu"
        or settings.forward == "huggingface"
        or why_no_fast_forward(config, max_pair_tokens) is not None
    ):
        return 1
    return choose_threads(settings)


def choose_threads(settings: EngineSettings) -> int:
    """CPU threads that score: what the settings say, else every core this process may use."""
    return settings.threads or len(os.sched_getaffinity(0))


def choose_batch_tokens(
    settings: EngineSettings,
    config: PretrainedConfig,
    max_pair_tokens: int,
    dtype: torch.dtype,
    device: str,
    workers: int,
) -> int:
    """Tokens on the device at once: what the settings say, else what suits it; never more than it can hold.

    Raises CheckpointError when one pair would not fit the settings or the device.
    """
    if settings.max_batch_tokens is not None and settings.max_batch_tokens < max_pair_tokens:
        raise CheckpointError(
            f"max_batch_tokens {settings.max_batch_tokens} does not hold one pair of {max_pair_tokens} tokens: "
            "allow more, or set a smaller max_pair_tokens"
        )
    on_cpu = device == "cpu"
    usual = max(CPU_BATCH_TOKENS, CPU_WORKER_TOKENS * workers) if on_cpu else GPU_BATCH_TOKENS
    wanted = max(settings.max_batch_tokens or usual, max_pair_tokens)
    try:
        shape = ModelShape.of(config)
    except CheckpointError:
        return wanted  # an architecture that nobody has counted
    plan = MemoryPlan.of(shape, dtype.itemsize, gpu=not on_cpu)
    return plan.batch_tokens(wanted, _device_bytes(device), max_pair_tokens)


def _device_bytes(device: str) -> int:
    """Free bytes of a GPU; all of this machine's where the device shares its memory."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _is_fast(dtype: torch.dtype, device: str) -> bool:
    if device == "cpu":
        return dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype is torch.float16 or not device.startswith("cuda") or _gpu_has_bfloat16()


def _gpu_has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
