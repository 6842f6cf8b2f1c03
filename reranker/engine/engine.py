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
from reranker.encoder import Encoder
from reranker.engine.allocator import keep_freed_memory
from reranker.engine.memory import CPU_BATCH_TOKENS, CPU_WORKER_TOKENS, GPU_BATCH_TOKENS, AttentionKind, MemoryPlan
from reranker.engine.models import ForwardPass, ScoringModel
from reranker.engine.models.attention import has_varlen
from reranker.engine.models.decoder_config import scores_of
from reranker.engine.models.loading import load_model, why_no_fast_forward
from reranker.engine.models.simulated import SimulatedModel
from reranker.engine.packing import pack, pack_evenly
from reranker.engine.shape import ModelShape
from reranker.engine.workers import Workers
from reranker.errors import CheckpointError
from reranker.pairs import EncodedPairs, FloatArray, IntArray
from reranker.recipe import BARE_CLASSIFIER, Recipe
from reranker.settings import CheckpointSettings, EngineSettings

HALF_PRECISION = (torch.bfloat16, torch.float16)


class Engine:
    """Runs one model over any number of pairs, in batches of bounded size. Not thread-safe.

    max_batch_tokens: tokens on the device at once, shared by the workers if there are any (a pass with several pairs
    may exceed its share by one pair). deterministic: one pair per pass, so no other pair can change its score.
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
        """Forward passes that run in parallel."""
        return 1 if self._workers is None else self._workers.count

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        """Tokens that pairs of these lengths take in a pass: int (pairs,)."""
        return self._model.pass_tokens(lengths)

    @property
    def pads(self) -> bool:
        """Whether the model pads batches, so that every pair costs as much as the longest."""
        return self._model.pads

    @property
    def shares_prefixes(self) -> bool:
        """Whether the query part of several pairs is computed once."""
        return getattr(self._model, "shares_prefixes", False)  # most models have no such thing

    def clear_cache(self) -> None:
        """Drop the state of earlier calls, so that the next logits are a pure function of their pairs."""
        self._model.clear_cache()

    def score(self, pairs: EncodedPairs) -> FloatArray:
        """Logits, float32 (pairs,), in input order. Damaged weights may give NaN.

        Which pairs share a forward pass depends only on their lengths and on the number of workers.
        """
        workers, lengths = self._workers, self.pass_tokens(pairs.lengths)
        if workers is not None and len(pairs) < 2 * workers.count and not self._deterministic:
            workers = None  # too few pairs to share evenly: all threads work on one pass
        if self._deterministic or workers is None:
            batches = pack(lengths, 1 if self._deterministic else self.max_batch_tokens, padded=self._model.pads)
        else:
            batches = pack_evenly(lengths, self.max_batch_tokens // workers.count, workers.count)

        def prepare(batch: NDArray[np.intp]) -> ForwardPass:
            return self._model.prepare(pairs.take(batch))

        # Launch all passes before reading any logits, so that a GPU computes one while the next is prepared.
        launched = workers.map(prepare, batches) if workers else [prepare(batch)() for batch in batches]
        logits = np.empty(len(pairs), dtype=np.float32)
        for batch, scores in zip(batches, launched, strict=True):
            logits[batch] = scores.cpu().numpy()
        return logits


def load_engine(
    files: CheckpointFiles, encoder: Encoder, checkpoint: CheckpointSettings, settings: EngineSettings
) -> Engine:
    """Load a checkpoint's weights onto a device. Sets this process's torch threads. Raises CheckpointError."""
    if settings.simulated_tokens_per_s is not None:
        return Engine(SimulatedModel(settings.simulated_tokens_per_s), settings.max_batch_tokens or CPU_BATCH_TOKENS)
    threads = choose_threads(settings)
    torch.set_num_threads(threads)
    device = choose_device(checkpoint.device)
    config = load_config(files, score=encoder.recipe.score, trust_remote_code=checkpoint.trust_remote_code)
    saved = config.dtype
    if saved is torch.float16 and encoder.recipe.score.kind == "first_decoded":
        saved = torch.bfloat16  # T5 exceeds the range of float16, in which some are saved
    dtype = choose_dtype(checkpoint.dtype, saved, device)
    workers = choose_workers(settings, config, encoder.max_pair_tokens, device, encoder.recipe)
    max_batch_tokens = choose_batch_tokens(
        settings, config, encoder.max_pair_tokens, dtype, device, workers, encoder.recipe
    )
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
        keep_freed_memory()  # only after loading, which frees as much memory as the weights take
    return Engine(
        model,
        max_batch_tokens,
        workers=Workers(workers, threads // workers) if workers > 1 else None,
        deterministic=settings.deterministic,
        dtype=dtype,
        device=device,
    )


def choose_device(wanted: str) -> str:
    """Resolve 'auto'. Raises CheckpointError for a device this machine does not have."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise CheckpointError(f"device {wanted}: torch {torch.__version__} sees no CUDA device; use cpu or auto")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise CheckpointError("device mps: torch sees no Apple GPU; use cpu or auto")
    return wanted


def choose_dtype(wanted: str, saved: torch.dtype | str | None, device: str) -> torch.dtype:
    """Resolve 'auto': the dtype the checkpoint was saved in if the device is fast in it, else float32.

    Raises CheckpointError for a dtype the device does not support.
    """
    if wanted == "auto":
        return saved if saved in HALF_PRECISION and _is_fast(saved, device) else torch.float32
    dtype: torch.dtype = getattr(torch, wanted)
    if dtype is torch.bfloat16 and device.startswith("cuda") and not _gpu_has_bfloat16():
        raise CheckpointError("this GPU does not support bfloat16: use float16 or float32")
    return dtype


def choose_workers(
    settings: EngineSettings,
    config: PretrainedConfig,
    max_pair_tokens: int,
    device: str,
    recipe: Recipe = BARE_CLASSIFIER,
) -> int:
    """Passes that run in parallel: one per CPU thread; 1 on a GPU and for Hugging Face's forward."""
    is_fast = _is_fast_forward(settings, config, max_pair_tokens, recipe)
    return choose_threads(settings) if device == "cpu" and is_fast else 1


def choose_threads(settings: EngineSettings) -> int:
    """CPU threads that score: from the settings, else every core this process may use."""
    return settings.threads or len(os.sched_getaffinity(0))


def choose_batch_tokens(
    settings: EngineSettings,
    config: PretrainedConfig,
    max_pair_tokens: int,
    dtype: torch.dtype,
    device: str,
    workers: int,
    recipe: Recipe = BARE_CLASSIFIER,
) -> int:
    """Tokens on the device at once: from the settings, else the device's default; never more than fit its memory.

    Raises CheckpointError when one pair exceeds the settings or the device.
    """
    if settings.max_batch_tokens is not None and settings.max_batch_tokens < max_pair_tokens:
        raise CheckpointError(
            f"max_batch_tokens {settings.max_batch_tokens} is below one pair of {max_pair_tokens} tokens: "
            "raise it, or set a smaller max_pair_tokens"
        )
    on_cpu = device == "cpu"
    default = max(CPU_BATCH_TOKENS, CPU_WORKER_TOKENS * workers) if on_cpu else GPU_BATCH_TOKENS
    wanted = max(settings.max_batch_tokens or default, max_pair_tokens)
    try:
        shape = ModelShape.of(config)
    except CheckpointError:
        return wanted  # ModelShape does not know this architecture, so its memory is not known either
    attention: AttentionKind = "huggingface"
    if _is_fast_forward(settings, config, max_pair_tokens, recipe):
        # The varlen kernel adds no bias to scores, as encoder-decoders do, nor scales or caps them as Gemma does.
        plain = not shape.decoder_layers and not scores_of(config)
        attention = "varlen" if plain and has_varlen(torch.device(device), dtype, shape.head_dim) else "blocks"
    elif shape.decoder_layers:
        return wanted  # MemoryPlan does not count what Hugging Face's encoder-decoders need
    plan = MemoryPlan.of(
        shape,
        dtype.itemsize,
        max_pair_tokens=max_pair_tokens,
        gpu=not on_cpu,
        attention=attention,
        passes=workers,
        whole_pairs=recipe.attention == "bidirectional" or recipe.pooling == "mean",
    )
    return plan.batch_tokens(wanted, _device_bytes(device), max_pair_tokens)


def _is_fast_forward(
    settings: EngineSettings, config: PretrainedConfig, max_pair_tokens: int, recipe: Recipe
) -> bool:
    return settings.forward != "huggingface" and why_no_fast_forward(config, max_pair_tokens, recipe) is None


def _device_bytes(device: str) -> int:
    """A GPU's free memory; otherwise all memory of this machine."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _is_fast(dtype: torch.dtype, device: str) -> bool:
    if device == "cpu":
        return dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype is torch.float16 or not device.startswith("cuda") or _gpu_has_bfloat16()


def _gpu_has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
