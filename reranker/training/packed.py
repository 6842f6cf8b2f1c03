"""A differentiable forward of a Hugging Face cross-encoder over packed pairs, without padding.

The module stays Hugging Face's own, so adapters, sharding and checkpointing of activations work as usual: only its
attention is replaced, by one over packed sequences, and its head reads one token per pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from reranker.engine.models.heads import Attention, Heads
from reranker.engine.models.packed import Sequences, token_types
from reranker.engine.models.transfer import on_device
from reranker.errors import CheckpointError
from reranker.layout import PairLayout
from reranker.pairs import EncodedPairs
from reranker.training.attention import trainable_attention

_NAME = "packed"
_ENCODERS = frozenset({"bert", "roberta", "xlm-roberta"})
_DECODERS = frozenset({"llama", "mistral", "qwen2", "qwen3"})


@dataclass(slots=True)
class PackedPairs:
    """One micro-batch on its device.

    ids, positions: int64 (1, tokens). types: int64 (1, tokens), None where the model has no token types. sequences:
    which token belongs to which pair. read_at: int64 (pairs,), the token that the head reads, in the caller's order.
    """

    ids: Tensor
    positions: Tensor
    types: Tensor | None
    sequences: Sequences
    read_at: Tensor
    _attentions: dict[tuple[Heads, bool], Attention] = field(default_factory=dict)

    def attention(self, heads: Heads, *, causal: bool, like: Tensor) -> Attention:
        """The same object for all layers."""
        key = (heads, causal)
        if key not in self._attentions:
            self._attentions[key] = trainable_attention(self.sequences, heads, causal=causal, like=like)
        return self._attentions[key]


class PackedStudent(nn.Module):
    """A one-logit cross-encoder that scores packed pairs: `student(student.pack(pairs, device))` -> logits (pairs,).

    module: Hugging Face's, with or without an adapter of peft; its attention implementation is replaced. Attention
    probabilities are never dropped out. Raises CheckpointError for an architecture whose attention it cannot replace.
    """

    def __init__(self, module: nn.Module, layout: PairLayout) -> None:
        super().__init__()
        self.module = module
        inner = self.hugging_face
        config = inner.config
        self._is_decoder = config.model_type in _DECODERS
        if not self._is_decoder and config.model_type not in _ENCODERS:
            known = ", ".join(sorted(_ENCODERS | _DECODERS))
            raise CheckpointError(f"training knows {known}: this checkpoint's architecture is {config.model_type}")
        if getattr(config, "use_sliding_window", None) or (
            config.model_type == "mistral" and getattr(config, "sliding_window", None)
        ):
            raise CheckpointError("training does not know sliding windows: set the config's sliding window to null")
        self._first_position = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
        self._layout = layout
        self._has_types = layout.sends_types and getattr(config, "type_vocab_size", 0) > 1
        inner.set_attn_implementation(_NAME)

    @property
    def hugging_face(self) -> PreTrainedModel:
        """The module without peft's wrapper; adapters are inside its layers."""
        unwrap = getattr(self.module, "get_base_model", None)
        return self.module if unwrap is None else unwrap()  # type: ignore[return-value]

    def pack(self, pairs: EncodedPairs, device: torch.device) -> PackedPairs:
        """Copy a micro-batch to the device; its tokens are ordered so that pairs of like lengths are neighbours."""
        sequences = Sequences.pack([pairs.pair_ids(pair) for pair in range(len(pairs))])
        read = sequences.starts[1:] - 1 if self._is_decoder else sequences.starts[:-1]
        read_at = np.empty(len(pairs), dtype=np.int64)
        read_at[sequences.input_index] = read
        types = None
        if self._has_types:
            types = on_device(token_types(sequences, pairs.prefix_lengths, self._layout), device)[None]
        return PackedPairs(
            on_device(sequences.ids.astype(np.int64), device)[None],
            on_device(sequences.positions + self._first_position, device)[None],
            types,
            sequences,
            on_device(read_at, device),
        )

    def forward(self, pairs: PackedPairs) -> Tensor:
        """Logits in the caller's order, (pairs,)."""
        inner = self.hugging_face
        extra: dict[str, Any] = {"use_cache": False} if self._is_decoder else {"token_type_ids": pairs.types}
        hidden = inner.base_model(
            input_ids=pairs.ids, position_ids=pairs.positions, attention_mask=None, packed=pairs, **extra
        )[0][0]
        rows = hidden[pairs.read_at]
        logits: Tensor = self._head(inner, rows).reshape(-1)
        return logits.clone()  # FSDP2 hooks what a forward returns, and warns of a view

    def _head(self, inner: Any, rows: Tensor) -> Tensor:
        """The checkpoint's own head over one token per pair."""
        if self._is_decoder:
            return inner.score(rows)  # type: ignore[no-any-return]
        if inner.config.model_type == "bert":
            return inner.classifier(inner.dropout(inner.bert.pooler(rows[:, None])))  # type: ignore[no-any-return]
        return inner.classifier(rows[:, None])  # type: ignore[no-any-return]


def recompute_activations(module: PreTrainedModel) -> None:
    """Keep only every layer's input for the backward pass, and compute the rest again: less memory, more time."""
    # transformers 5.20 renamed it.
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: PackedPairs,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Hugging Face's interface: query, key, value (1, heads, tokens, size) -> (1, tokens, heads, size)."""
    heads = Heads(query.shape[1], key.shape[1], query.shape[3])
    if scaling is not None and abs(scaling * heads.size**0.5 - 1) > 1e-6:
        raise CheckpointError(f"training does not know attention scaled by {scaling}")
    causal = bool(getattr(module, "is_causal", False))
    qkv = torch.cat((query[0], key[0], value[0])).transpose(0, 1)
    attention = packed.attention(heads, causal=causal, like=qkv)
    return attention.all_tokens(qkv, []).view(1, len(qkv), heads.query, heads.size), None


def _no_mask(*_: Any, **__: Any) -> None:
    """Pairs cannot see each other, and there is no padding."""


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, _no_mask)
