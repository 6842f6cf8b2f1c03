"""The rotations of a decoder's layers, rounded as Hugging Face rounds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from reranker.engine.models.rotary import rotations

Rotations = tuple[Tensor, Tensor]  # cosines and sines by position, each (positions, 1, head size / 2)
ALL_LAYERS = ""


def ropes_of(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """The parameters of each rope by the type of layers that use it; ALL_LAYERS where there is one for all."""
    parameters = config.rope_parameters
    used = getattr(config, "layer_types", None) or parameters  # a config may have ropes that no layer uses
    nested = {kind: rope for kind, rope in parameters.items() if isinstance(rope, dict) and kind in used}
    return nested or {ALL_LAYERS: parameters}


def rope_tables(config: PretrainedConfig, positions: int, *, like: Tensor) -> dict[str, Rotations]:
    """By the type of layers, as in `ropes_of`, in the dtype and on the device of `like`."""
    return {kind: _table(config, kind, positions, like) for kind in ropes_of(config)}


def _table(config: PretrainedConfig, kind: str, positions: int, like: Tensor) -> Rotations:
    numbers = torch.arange(positions, device=like.device)[None]
    rotary: Any  # importing them takes seconds
    if kind == ALL_LAYERS:
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        rotary, kinds = LlamaRotaryEmbedding(config), {}  # type: ignore[arg-type]
    else:
        from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

        rotary, kinds = Gemma3RotaryEmbedding(config), {"layer_type": kind}  # type: ignore[arg-type]
    return rotations(rotary.to(like.device)(like, numbers, **kinds))
