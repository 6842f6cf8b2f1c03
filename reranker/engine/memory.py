"""Memory that a checkpoint takes on its device, and how many tokens a forward pass may have there.

Pure arithmetic over the config: no torch, nothing is measured. The formulas are ours, counted from the tensors alive
at the peak of our forwards, and overestimate rather than underestimate.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError

# Default batch on a CPU: the larger of CPU_BATCH_TOKENS and CPU_WORKER_TOKENS per worker. Larger passes leave the
# caches, gain little, and make small requests wait (docs/benchmarks.md).
CPU_BATCH_TOKENS, CPU_WORKER_TOKENS = 2_048, 1_024
# Default batch on a GPU: larger ones gain nothing and make small requests wait.
GPU_BATCH_TOKENS = 16_384
# Prefixes whose keys and values are kept between batches.
PREFIX_CACHE_TOKENS = 4_096
# Max tokens of a pass that computes prefixes.
PREFIX_PASS_TOKENS = 2_048
# Max attention scores of a block over all heads: on a CPU 2 MB of float32, which fit a core's cache; a GPU is faster
# with large blocks.
CPU_BLOCK_SCORES, GPU_BLOCK_SCORES = 2**19, 2**26
# Max attention scores at once of a sequence that is longer than a block: more would gain nothing and fill memory.
CPU_LONG_SCORES, GPU_LONG_SCORES = 2**23, 2**26
# For the GPU's driver context, the workspaces of its matrix library, and fragmentation in the allocator.
GPU_RESERVE_BYTES = 900 * 2**20

AttentionKind = Literal["varlen", "blocks", "huggingface"]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on the device.

    fixed_bytes: what does not depend on the pass, besides weights and prefixes. token_bytes: peak activations per
    computed token. prefix_token_bytes: keys and values of a prefix token in all layers. key_bytes: copies of keys and
    values in one layer, per token that is attended to. cached_tokens, prefix_pass_tokens: prefix tokens kept between
    batches, and computed at once. passes: how many run in parallel and share the tokens of a batch.
    """

    weights_bytes: int
    fixed_bytes: int
    token_bytes: int
    prefix_token_bytes: int
    key_bytes: int
    cached_tokens: int
    prefix_pass_tokens: int
    passes: int

    @classmethod
    def of(
        cls,
        shape: ModelShape,
        number: int,
        *,
        max_pair_tokens: int,
        gpu: bool,
        attention: AttentionKind = "varlen",
        passes: int = 1,
        whole_pairs: bool = False,
    ) -> MemoryPlan:
        """For a model of this shape, whose numbers take `number` bytes, on a GPU or on a CPU. whole_pairs: it shares
        no prefixes although it is a decoder, because its attention is bidirectional or it reads a mean.

        With width d, query heads of total width q, key heads of total width k, and MLP width f, alive per token are:
        - in attention 2d + q + 2k (residual, its norm, projections), and the largest of 2q (norms of queries), 4k + q
          (keys and values, concatenated and gathered behind their prefix; output) and d + q (output, new residual);
          over blocks 5q + 6k (padded copies);
        - in the MLP 2d + 2f.
        Hugging Face's modules copy more: 2d + 9q + 3k (some rotate in float32) and a mask of a pair's length, or
        3d + 3f. On a CPU, half precision is normed in float32, as by Gemma everywhere: 5d or 5q, and 6d + q behind
        Gemma's attention. What Hugging Face's encoder-decoders need is not counted.
        """
        d, f = shape.hidden, max(shape.intermediate, shape.hidden)
        q, k = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        kinds = 2 if shape.local_layers else 1  # of layers, each with its own mask and rotations
        shares_prefixes = shape.causal and not whole_pairs and attention != "huggingface"
        keys = 4 * k if shares_prefixes else 0
        if attention == "huggingface":
            numbers = max(2 * d + 9 * q + 3 * k + kinds * max_pair_tokens, 3 * d + 3 * f)
        else:
            norms = 2 if gpu and not shape.float32_norms else 5
            output = 6 * d if shape.float32_norms else d
            copies = max(norms * q, keys + q) if attention == "varlen" else 5 * q + 6 * k
            numbers = max(2 * d + q + 2 * k + max(copies, output + q), 2 * d + max(2 * f, norms * d))
        ropes = 2 if shape.float32_norms else 1  # Gemma 3 has two
        rotation = 2 * 4 if shape.local_layers else ropes * number  # bytes: local encoders' are in float32, two kinds
        # Token ids, positions, token types or rows of keys; rotations; log-sums of the attention kernel.
        indices = 4 + 8 + 8 + shape.head_dim * rotation + 4 * shape.heads
        fixed = GPU_RESERVE_BYTES if gpu else 0
        if attention == "blocks":  # scores and probabilities, both rounded as well, of a block or of rows of a pair
            block, most = (GPU_BLOCK_SCORES, GPU_LONG_SCORES) if gpu else (CPU_BLOCK_SCORES, CPU_LONG_SCORES)
            long = max(min(most, shape.heads * max_pair_tokens**2), shape.heads * max_pair_tokens)
            rows = min(max_pair_tokens, max(1, most // (shape.heads * max_pair_tokens)))
            scores, masks = max(block, long), rows * max_pair_tokens * (3 if shape.local_layers else 1)
            if shape.decoder_layers:  # encoder-decoders add a bias to the scores of every head
                masks += shape.heads * max_pair_tokens**2
            fixed += passes * (scores * (8 if number == 4 else 10) + 4 * masks)
        return cls(
            weights_bytes=shape.weights_bytes(number),
            fixed_bytes=fixed,
            token_bytes=numbers * number + indices,
            prefix_token_bytes=2 * shape.layers * k * number if shares_prefixes else 0,
            key_bytes=keys * number + 8 if shares_prefixes else 0,
            cached_tokens=max(PREFIX_CACHE_TOKENS, max_pair_tokens),
            prefix_pass_tokens=max(PREFIX_PASS_TOKENS, max_pair_tokens),
            passes=passes,
        )

    def bytes_for(self, batch_tokens: int) -> int:
        """Total bytes with batches of this many tokens, whatever their pairs are.

        A batch's tokens are passage tokens or, if each pair has a query of its own, prefix tokens. The need of every
        phase is linear in both, or convex, so the worst batch has only one of them.
        """
        cached, at_once = self.cached_tokens, min(self.prefix_pass_tokens, batch_tokens)
        # Computing a prefix evicts another one from the cache, but only when its pass is done.
        others = batch_tokens if self.passes > 1 else 0  # held by passes that run at the same time
        held = max(cached, batch_tokens) + others
        held_before = max(cached + at_once, batch_tokens) + others
        only_passages = (cached + others) * self.prefix_token_bytes + batch_tokens * self.token_bytes
        computing_prefixes = held_before * self.prefix_token_bytes + at_once * self.token_bytes
        behind_prefixes = held * self.prefix_token_bytes + batch_tokens * self.key_bytes
        return self.weights_bytes + self.fixed_bytes + max(only_passages, computing_prefixes, behind_prefixes)

    def batch_tokens(self, wanted: int, device_bytes: int, max_pair_tokens: int) -> int:
        """Tokens of a batch: `wanted`, or fewer on a small device.

        Raises CheckpointError when not even one pair fits.
        """
        tokens = bisect_right(range(wanted + 1), device_bytes, key=self.bytes_for) - 1
        if tokens < max_pair_tokens:
            raise CheckpointError(
                f"the model needs {self.bytes_for(max_pair_tokens) / 1e9:.1f} GB for one pair, and the device has "
                f"{device_bytes / 1e9:.1f} GB: use a larger device, a smaller dtype or fewer max_pair_tokens"
            )
        return tokens
