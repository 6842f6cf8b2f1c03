"""How much arithmetic a workload needs, and how many bytes its weights are: what no implementation can go below.

Pure numbers: no torch, no clock. Counted is what the scores depend on, not what a plain forward pass computes:

- a decoder reads a query's prefix once, however many pairs share it (attention is causal);
- in the last layer only the token that the logit is read from needs a query, attention, an MLP and the head; the
  other tokens give their keys and values. That token is the last of a pair in a decoder, the first in an encoder.

A multiplication with its addition is 2 FLOPs. Norms, rotations, softmax and activations are left out: they are below
1 % of the arithmetic of any model that is worth measuring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reranker.errors import CheckpointError
from reranker.types import IntArray

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Architectures whose layers are counted here: causal decoders with a gated MLP, and encoders with a plain one.
DECODERS = frozenset({"llama", "mistral", "qwen2", "qwen3"})
ENCODERS = frozenset({"bert", "camembert", "roberta", "xlm-roberta"})


@dataclass(frozen=True, slots=True)
class Linear:
    """One matrix of a layer, after those that read the same input are joined: y = x Wᵀ."""

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the counts depend on. embeddings: rows of all embedding tables together."""

    causal: bool
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    embeddings: int

    @classmethod
    def of(cls, config: PretrainedConfig) -> ModelShape:
        """Raises CheckpointError for an architecture that is in neither DECODERS nor ENCODERS."""
        causal = config.model_type in DECODERS
        if not causal and config.model_type not in ENCODERS:
            known = ", ".join(sorted(DECODERS | ENCODERS))
            raise CheckpointError(f"no roofline for architecture {config.model_type!r}: counted are {known}")
        heads = config.num_attention_heads
        tables = () if causal else (config.max_position_embeddings, config.type_vocab_size)
        return cls(
            causal=causal,
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            intermediate=config.intermediate_size,
            embeddings=config.vocab_size + sum(tables),
        )

    @property
    def linears(self) -> tuple[Linear, ...]:
        """A layer's matrices: as few and as large as they can be, which is how they run fastest."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            Linear("qkv", self.hidden, queries + 2 * keys),
            Linear("attention output", queries, self.hidden),
            Linear("mlp in", self.hidden, self.intermediate * (2 if self.causal else 1)),
            Linear("mlp out", self.intermediate, self.hidden),
        )

    @property
    def layer_weights(self) -> int:
        """h heads of e, g of them with keys, width d, MLP f: d(h + 2g)e + hed + 3df; an encoder has 2df."""
        return sum(linear.weights for linear in self.linears)

    @property
    def head_weights(self) -> int:
        """One row; an encoder has a square pooler before it."""
        return self.hidden * (1 if self.causal else self.hidden + 1)

    @property
    def matmul_weights(self) -> int:
        """Weights that every token is multiplied with."""
        return self.layers * self.layer_weights

    def weights_bytes(self, bytes_per_weight: int) -> int:
        """Of the whole checkpoint, norms and biases (below 0.5 %) left out."""
        return (self.matmul_weights + self.head_weights + self.embeddings * self.hidden) * bytes_per_weight


@dataclass(frozen=True, slots=True)
class Work:
    """FLOPs of a workload. tokens: those that go through the layers, shared prefixes counted once."""

    pairs: int
    tokens: int
    linear_flops: int
    attention_flops: int

    @property
    def flops(self) -> int:
        return self.linear_flops + self.attention_flops


def needed_work(shape: ModelShape, prefix_lengths: IntArray, prefix_of: IntArray, passage_lengths: IntArray) -> Work:
    """What the logits of these pairs need.

    prefix_lengths: int (prefixes,); prefix_of: int (pairs,); passage_lengths: int (pairs,). All in tokens.

    With T tokens, P pairs, L layers, W weights a layer and K = 2dge of them for keys and values (d wide, g key
    heads of e), H head weights:
        linear    = 2 T ((L - 1) W + K) + 2 P (W - K + H)
        attention = 4 h e (keys attended to in L - 1 layers by all tokens, in the last by P tokens),
    where a decoder's token at position j (from 1) attends to j keys, and an encoder's to its whole pair. T is the
    sum of all prefixes and passages in a decoder, of all pairs in an encoder.
    """
    prefixes = prefix_lengths.astype(np.int64)
    passages = passage_lengths.astype(np.int64)
    lengths = prefixes[prefix_of] + passages
    if shape.causal:
        tokens = int(prefixes.sum() + passages.sum())
        inside = (prefixes * (prefixes + 1)).sum() + (passages * (passages + 1)).sum()
        keys = int(inside) // 2 + int((prefixes[prefix_of] * passages).sum())
    else:
        tokens = int(lengths.sum())
        keys = int((lengths**2).sum())
    pairs = len(passages)
    key_value = 2 * shape.hidden * shape.kv_heads * shape.head_dim
    every_token = (shape.layers - 1) * shape.layer_weights + key_value
    pooled_token = shape.layer_weights - key_value + shape.head_weights
    return Work(
        pairs=pairs,
        tokens=tokens,
        linear_flops=2 * tokens * every_token + 2 * pairs * pooled_token,
        attention_flops=4 * shape.heads * shape.head_dim * ((shape.layers - 1) * keys + int(lengths.sum())),
    )
