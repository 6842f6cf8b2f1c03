"""The FLOPs that the scores of a workload need at least: a lower bound for every implementation.

Pure arithmetic: no torch, no clock. It counts what the scores depend on, not what a padded forward pass computes:

- a decoder computes a query's prefix once, however many pairs share it (attention is causal);
- in the last layer only the token that the logit is read from needs a query, attention, an MLP and the head; the
  other tokens need keys and values. That token is the last of a pair in a decoder, the first in an encoder. Where the
  logit is read from all tokens, all need the whole layer;
- a decoder behind an encoder is one token per pair: its self-attention is a value, and all tokens need keys and
  values of its attention over them;
- a local layer attends to a window of tokens only. The last layer counts as one that is not local.

A multiplication with its addition is 2 FLOPs. Norms, rotations, softmax and activations are not counted: they are
below 1 % of the FLOPs of models of any practical size. The formula is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reranker.engine.shape import ModelShape
from reranker.pairs import IntArray


@dataclass(frozen=True, slots=True)
class Work:
    """FLOPs of a workload. tokens: number that the layers process, with shared prefixes counted once."""

    pairs: int
    tokens: int
    linear_flops: int
    attention_flops: int

    @property
    def flops(self) -> int:
        return self.linear_flops + self.attention_flops


def needed_work(shape: ModelShape, prefix_lengths: IntArray, prefix_of: IntArray, passage_lengths: IntArray) -> Work:
    """The work that the logits of these pairs need.

    prefix_lengths: int (prefixes,); prefix_of: int (pairs,); passage_lengths: int (pairs,). All in tokens.

    With T tokens, P pairs, R tokens that logits are read from (P or T), L layers, W weights a layer and K = 2dge of
    them for keys and values (d wide, g key heads of e), H head weights:
        linear    = 2 T ((L - 1) W + K) + 2 R (W - K) + 2 P H
        attention = 4 h e (keys attended to in L - 1 layers by all tokens, in the last by R tokens),
    where a decoder's token at position j (from 1) attends to j keys, and an encoder's to its whole pair, or in a
    local layer to those of its window. T is the sum of all prefixes and passages in a decoder, of all pairs in an
    encoder. Each layer of a decoder behind an encoder adds 2 T K + 2 P W, with values and output of its own and
    queries and output over the encoder's tokens, and 4 h e T.
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
    read, keys_of_read = (tokens, keys) if shape.pools_all else (pairs, int(lengths.sum()))
    # A token d tokens from one end attends to min(d, window) on that side.
    near = np.minimum(lengths - 1, shape.window)
    local_keys = int((lengths + near * (2 * lengths - near - 1)).sum())
    global_layers = shape.layers - 1 - shape.local_layers
    key_value = 2 * shape.hidden * shape.kv_heads * shape.head_dim
    every_token = (shape.layers - 1) * shape.layer_weights + key_value
    return Work(
        pairs=pairs,
        tokens=tokens,
        linear_flops=2 * tokens * every_token
        + 2 * read * (shape.layer_weights - key_value)
        + 2 * shape.decoder_layers * (tokens * key_value + pairs * shape.layer_weights)
        + 2 * pairs * shape.head_weights,
        attention_flops=4
        * shape.heads
        * shape.head_dim
        * (global_layers * keys + shape.local_layers * local_keys + keys_of_read + shape.decoder_layers * tokens),
    )
