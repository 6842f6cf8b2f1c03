"""Causal decoders with one logit: Llama 2 and 3, Mistral, Qwen2 and Qwen3, over a checkpoint's weights.

What it leaves out, and why the logits stay the same:
- padding: linear layers see tokens end to end, and attention pads only to the longest neighbour;
- the query prefix of all candidates but the first: attention is causal, so keys and values of the prefix do not
  depend on what follows;
- in the last layer, all but keys and values for every token but the pooled one: nothing reads them;
- tokens behind the pooled one (a passage may end in spelled pad tokens): nothing looks back at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from reranker.checkpoints.weights import Weights
from reranker.engine.memory import PREFIX_CACHE_TOKENS, PREFIX_PASS_TOKENS
from reranker.engine.models import ForwardPass
from reranker.engine.models.attention import attention_over
from reranker.engine.models.heads import Heads, KeysValues
from reranker.engine.models.linear import LayerReader, Linear, in_usual_rows
from reranker.engine.models.packed import Sequences
from reranker.engine.models.prefixes import Layers, PrefixCache
from reranker.engine.models.transfer import in_order, on_device
from reranker.engine.packing import pack
from reranker.pairs import EncodedPairs, IntArray

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_FIXED_ROPES = frozenset({"default", "linear", "llama3", "yarn"})  # others change with the length of the input


def unsupported(config: PretrainedConfig, max_pair_tokens: int) -> str | None:
    """Why this forward cannot run a checkpoint, None where it can."""
    if config.model_type not in FAMILIES:
        return f"its architecture is {config.model_type}"
    if getattr(config, "hidden_act", "silu") != "silu":
        return f"its activation is {config.hidden_act}"
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", window is not None) and window and window < max_pair_tokens:
        return f"its attention window of {window} is shorter than a pair"
    rope = config.rope_parameters.get("rope_type", "default")
    if rope not in _FIXED_ROPES:
        return f"its rope type is {rope}"
    return None


@dataclass(frozen=True, slots=True)
class _Layer:
    """projections: to queries, keys and values at once; in the last layer to queries, and to keys and values, apart,
    because there only few tokens need queries. query_norm, key_norm: Qwen3's.
    """

    input_norm: Tensor
    projections: tuple[Linear, ...]
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


class LlamaModel:
    """See ScoringModel."""

    pads = False

    def __init__(
        self, weights: Weights, config: PretrainedConfig, max_pair_tokens: int, *, dtype: torch.dtype, device: str
    ) -> None:
        """Raises CheckpointError when the weights do not match the config."""
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._epsilon: float = config.rms_norm_eps
        self._pad_token_id: int | None = config.pad_token_id
        reader = LayerReader(weights, dtype, device)
        width = config.hidden_size
        self._embedding = reader.tensor("model.embed_tokens.weight", config.vocab_size, width)
        self._layers = [_read_layer(reader, config, self._heads, n) for n in range(config.num_hidden_layers)]
        self._norm = reader.tensor("model.norm.weight", width)
        self._head = reader.linear("score", width=width, out=1, bias=False)
        self._cos, self._sin = _rotations(config, max_pair_tokens, like=self._embedding)
        self._prefixes = PrefixCache(PREFIX_CACHE_TOKENS)

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        """Computes the prefixes that are not known yet."""
        sequences, prefix_ids = self._split(pairs)
        return partial(self._logits, sequences, self._known_prefixes(prefix_ids))

    def clear_cache(self) -> None:
        self._prefixes.clear()

    @torch.inference_mode()
    def _logits(self, sequences: Sequences, prefixes: list[Layers]) -> Tensor:
        hidden, _ = self._run(sequences, prefixes, keep=False)
        return in_order(self._head(self._normed(hidden, self._norm)), sequences)

    def _split(self, pairs: EncodedPairs) -> tuple[Sequences, list[IntArray]]:
        """What each pair computes itself, and the prefixes that are computed once, by slot.

        A pair whose logit is read inside its prefix (an empty passage, or one of pad tokens) has no prefix to share.
        """
        slots: dict[bytes, int] = {}  # by token ids: shards of one request bring the same prefix again
        parts, slot, before = [], [], []
        prefix_ids: list[IntArray] = []
        for pair in range(len(pairs)):
            prefix = int(pairs.prefix_of[pair])
            start, end = pairs.prefix_offsets[prefix : prefix + 2]
            own = pairs.passage_ids[pairs.passage_offsets[pair] : pairs.passage_offsets[pair + 1]]
            pooled = self._pooled(own)
            if pooled < 0:
                whole = pairs.pair_ids(pair)
                parts.append(whole[: max(0, self._pooled(whole)) + 1])
                slot.append(-1)
                before.append(0)
                continue
            shared = pairs.prefix_ids[start:end]
            place = slots.setdefault(shared.tobytes(), len(prefix_ids))
            if place == len(prefix_ids):
                prefix_ids.append(shared)
            parts.append(own[: pooled + 1])
            slot.append(place)
            before.append(int(end - start))
        return Sequences.lay(parts, np.array(slot, dtype=np.int32), np.array(before, dtype=np.int32)), prefix_ids

    def _pooled(self, ids: IntArray) -> int:
        """Where Hugging Face reads the logit: the last token that is not the pad token; -1 where there is none."""
        if self._pad_token_id is None:
            return len(ids) - 1
        text = np.flatnonzero(ids != self._pad_token_id)
        return int(text[-1]) if len(text) else -1

    @torch.inference_mode()
    def _known_prefixes(self, prefix_ids: list[IntArray]) -> list[Layers]:
        """Keys and values by slot, then layer; those not in the cache are computed, in passes of bounded size."""
        found = [self._prefixes.get(ids) for ids in prefix_ids]
        missing = np.array([slot for slot, layers in enumerate(found) if layers is None], dtype=np.intp)
        lengths = np.array([len(prefix_ids[slot]) for slot in missing], dtype=np.int64)
        for batch in pack(lengths, PREFIX_PASS_TOKENS, padded=False):
            slots = missing[batch]
            sequences = Sequences.lay([prefix_ids[slot] for slot in slots])
            _, computed = self._run(sequences, [], keep=True)
            for place, origin in enumerate(sequences.origin):
                start, end = sequences.starts[place : place + 2]
                # Copies, because a view would keep alive what the whole pass computed.
                layers = [
                    KeysValues(layer.keys[:, start:end].clone(), layer.values[:, start:end].clone())
                    for layer in computed
                ]
                found[slots[origin]] = layers
                self._prefixes.put(prefix_ids[slots[origin]], layers)
        return [layers for layers in found if layers is not None]

    def _run(self, sequences: Sequences, prefixes: list[Layers], *, keep: bool) -> tuple[Tensor, Layers]:
        """Hidden states before the final norm, (sequences, width): those of each sequence's last token.

        prefixes: by slot. keep: return keys and values of all tokens, by layer, instead of hidden states of use.
        """
        device = self._embedding.device
        attention = attention_over(sequences, self._heads, causal=True, like=self._embedding)
        positions = on_device(sequences.positions, device)
        last = on_device(sequences.starts[1:] - 1, device)
        cos, sin = (in_usual_rows(table.index_select(0, positions)) for table in (self._cos, self._sin))
        x = in_usual_rows(functional.embedding(on_device(sequences.ids, device), self._embedding))
        query, key, _ = self._heads
        kept: Layers = []
        for number, layer in enumerate(self._layers):
            of_layer = [layers[number] for layers in prefixes]
            normed = self._normed(x, layer.input_norm)
            if number < len(self._layers) - 1:
                qkv = self._project(layer, 0, normed, cos, sin, query, key)
                kv = qkv[:, query:]
                attended = attention.all_tokens(qkv, of_layer)
                del qkv
            else:
                q = self._project(layer, 0, normed[last], cos[last], sin[last], query, 0)
                kv = self._project(layer, 1, normed, cos, sin, 0, key)
                attended, x = attention.one_token(q, kv, of_layer), x[last]
            if keep:
                kept.append(
                    KeysValues(kv[:, :key].transpose(0, 1).contiguous(), kv[:, key:].transpose(0, 1).contiguous())
                )
            x = layer.out.plus(attended, x)
            del kv, attended  # the memory plan counts on it
            normed = self._normed(x, layer.mlp_norm)
            x = layer.down.plus(layer.up.times(normed, layer.gate.activated(normed, "silu")), x)
        return x, kept

    def _project(
        self, layer: _Layer, which: int, x: Tensor, cos: Tensor, sin: Tensor, query: int, key: int
    ) -> Tensor:
        """Rotated queries, rotated keys, and values: (tokens, heads, head size).

        query, key: heads of each that the projection gives; without keys there are no values either.
        """
        out = layer.projections[which](x).view(len(x), -1, self._heads.size)
        if layer.query_norm is not None and query:
            out[:, :query] = self._normed(out[:, :query], layer.query_norm)
        if layer.key_norm is not None and key:
            out[:, query : query + key] = self._normed(out[:, query : query + key], layer.key_norm)
        _rotate_(out[:, : query + key], cos, sin)
        return out

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """Root mean square norm over the last dimension, in float32 inside."""
        if x.is_cuda:
            return functional.rms_norm(x, weight.shape, weight, self._epsilon)
        # On CPUs this is ten times faster than rms_norm (torch 2.13), which is not one kernel there.
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(self._epsilon).rsqrt_()
        normed: Tensor = (x.float() * scale).to(x.dtype).mul_(weight)
        return normed


def _rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn pairs of dimensions in place. x: (tokens, heads, size); cos, sin: (tokens, 1, size / 2)."""
    left, right = x.chunk(2, -1)
    turned = (left * cos).addcmul_(right, sin, value=-1)
    right.mul_(cos).addcmul_(left, sin)
    left.copy_(turned)


def _rotations(config: PretrainedConfig, positions: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines by position, each (positions, 1, head size / 2), rounded as Hugging Face rounds them."""
    rotary = LlamaRotaryEmbedding(config).to(like.device)  # type: ignore[arg-type]
    both = rotary(like, torch.arange(positions, device=like.device)[None])
    cos, sin = (table[0, :, None, : table.shape[-1] // 2].contiguous() for table in both)
    return cos, sin


def _read_layer(reader: LayerReader, config: PretrainedConfig, heads: Heads, number: int) -> _Layer:
    name = f"model.layers.{number}"
    width, inner = config.hidden_size, config.intermediate_size
    attention, mlp = f"{name}.self_attn", f"{name}.mlp"
    # Which biases there are is the architecture's to say, not the file's.
    out_bias = bool(getattr(config, "attention_bias", False)) and config.model_type in ("llama", "qwen3")
    mlp_bias = bool(getattr(config, "mlp_bias", False)) and config.model_type == "llama"
    qwen3 = config.model_type == "qwen3"
    return _Layer(
        input_norm=reader.tensor(f"{name}.input_layernorm.weight", width),
        projections=tuple(
            reader.linear(
                *(f"{attention}.{part}_proj" for part in parts),
                width=width,
                out=sum(heads.query if part == "q" else heads.key for part in parts) * heads.size,
                bias=out_bias or config.model_type == "qwen2",
            )
            for parts in (("q", "kv") if number == config.num_hidden_layers - 1 else ("qkv",))
        ),
        query_norm=reader.tensor(f"{attention}.q_norm.weight", heads.size) if qwen3 else None,
        key_norm=reader.tensor(f"{attention}.k_norm.weight", heads.size) if qwen3 else None,
        out=reader.linear(f"{attention}.o_proj", width=heads.query * heads.size, out=width, bias=out_bias),
        mlp_norm=reader.tensor(f"{name}.post_attention_layernorm.weight", width),
        gate=reader.linear(f"{mlp}.gate_proj", width=width, out=inner, bias=mlp_bias),
        up=reader.linear(f"{mlp}.up_proj", width=width, out=inner, bias=mlp_bias),
        down=reader.linear(f"{mlp}.down_proj", width=inner, out=width, bias=mlp_bias),
    )
