"""How much memory a checkpoint takes on its device, and how many tokens a forward pass may have there.

Pure arithmetic over the config: no torch, nothing is measured. It errs on the side of more.
"""

from __future__ import annotations

from dataclasses import dataclass

from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError

# On a CPU a pass should stay near its core's caches; larger ones gain little and make small requests wait
# (docs/benchmarks.md). At least so many are there at once, and so many a core.
CPU_BATCH_TOKENS, CPU_WORKER_TOKENS = 2_048, 1_024
# On a GPU, batches beyond this gain nothing and make small requests wait.
GPU_BATCH_TOKENS = 16_384
# Keys and values of queries kept from batch to batch.
PREFIX_CACHE_TOKENS = 4_096
# Prefixes that are not there yet are computed this many tokens at a time.
PREFIX_PASS_TOKENS = 2_048
# What a GPU's driver, its matrix library's workspaces and the allocator's gaps take.
GPU_RESERVE_BYTES = 900 * 2**20


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on the device. token_bytes: activations of one token of a forward pass, at their peak."""

    weights_bytes: int
    prefix_bytes: int
    token_bytes: int
    reserve_bytes: int

    @classmethod
    def of(cls, shape: ModelShape, bytes_per_number: int, *, gpu: bool) -> MemoryPlan:
        """For a model of this shape with numbers of this size, on a GPU or on a CPU.

        With width d, heads h, key heads g of size e, and MLP width f, a decoder holds at its peak the larger of
        4d + 2he + 4ge (attention, keys and values copied once to stand behind their prefix) and 3d + 2f (MLP).
        """
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        attention = 4 * shape.hidden + 2 * queries + 4 * keys
        mlp = 3 * shape.hidden + (2 if shape.causal else 1) * shape.intermediate
        return cls(
            weights_bytes=shape.weights_bytes(bytes_per_number),
            prefix_bytes=2 * shape.layers * keys * PREFIX_CACHE_TOKENS * bytes_per_number if shape.causal else 0,
            token_bytes=max(attention, mlp) * bytes_per_number,
            reserve_bytes=GPU_RESERVE_BYTES if gpu else 0,
        )

    def bytes_for(self, batch_tokens: int) -> int:
        """All of it, with forward passes of this many tokens."""
        return self.weights_bytes + self.prefix_bytes + self.reserve_bytes + batch_tokens * self.token_bytes

    def batch_tokens(self, wanted: int, device_bytes: int, max_pair_tokens: int) -> int:
        """At most `wanted` tokens a forward pass, fewer where the device is small.

        Raises CheckpointError when not even one pair would fit.
        """
        room = device_bytes - self.bytes_for(0)
        tokens = min(wanted, room // self.token_bytes)
        if tokens < max_pair_tokens:
            raise CheckpointError(
                f"the model needs {self.bytes_for(max_pair_tokens) / 1e9:.1f} GB for one pair, and the device has "
                f"{device_bytes / 1e9:.1f} GB: use a larger one, or a smaller dtype"
            )
        return tokens
