"""Score encoded pairs with a cross-encoder.

Knows nothing of text, HTTP or Ray: token ids in, logits out, input order kept.
"""

from __future__ import annotations

import os

import numpy as np
import torch

from reranker.checkpoint import CheckpointFiles, load_config
from reranker.encoding import PairEncoder
from reranker.errors import CheckpointError
from reranker.models import ScoringModel
from reranker.models.loading import load_model
from reranker.packing import pack
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import EncodedPairs, FloatArray

HALF_PRECISION = (torch.bfloat16, torch.float16)


class Engine:
    """Runs one model over any number of pairs, in batches of bounded size. Not thread-safe."""

    def __init__(
        self,
        model: ScoringModel,
        settings: EngineSettings,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        self._model = model
        self._settings = settings
        self.dtype = dtype
        self.device = device

    def score(self, pairs: EncodedPairs) -> FloatArray:
        """Logits, float32 (pairs,), in input order. A logit may be NaN where the weights are at fault.

        Which pairs share a forward pass is a pure function of their lengths.
        """
        budget = 1 if self._settings.deterministic else self._settings.max_batch_tokens
        logits = np.empty(len(pairs), dtype=np.float32)
        for batch in pack(pairs.lengths, budget, padded=self._model.pads):
            logits[batch] = self._model(pairs.take(batch))
        return logits


def load_engine(
    files: CheckpointFiles, encoder: PairEncoder, checkpoint: CheckpointSettings, settings: EngineSettings
) -> Engine:
    """Put a checkpoint's weights on a device. Sets this process's torch threads. Raises CheckpointError."""
    torch.set_num_threads(settings.threads or len(os.sched_getaffinity(0)))
    device = choose_device(checkpoint.device)
    config = load_config(files, trust_remote_code=checkpoint.trust_remote_code)
    dtype = choose_dtype(checkpoint.dtype, config.dtype, device)
    model = load_model(
        files,
        config,
        encoder,
        dtype=dtype,
        device=device,
        plain=settings.forward == "plain",
        trust_remote_code=checkpoint.trust_remote_code,
    )
    return Engine(model, settings, dtype=dtype, device=device)


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
    if dtype is torch.bfloat16 and device.startswith("cuda") and not torch.cuda.is_bf16_supported():
        raise CheckpointError("this card has no bfloat16: use float16 or float32")
    return dtype


def _is_fast(dtype: torch.dtype, device: str) -> bool:
    if device == "cpu":
        return dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype is torch.float16 or not device.startswith("cuda") or torch.cuda.is_bf16_supported()
