"""Memory that a checkpoint takes on its device, and how many tokens a forward pass may have there.

Pure arithmetic over the config: no torch, nothing is measured. The formulas are ours, counted from the tensors alive
at the peak of our forwards, and overestimate rather than underestimate.
"""

from __future__ import annotations

from dataclasses import dataclass

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
# For the GPU's driver context, the workspaces of its matrix library, and fragmentation in the allocator.
GPU_RESERVE_BYTES = 900 * 2**20


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on the device. token_bytes: peak activations of a forward pass, per token."""

    weights_bytes: int
    prefix_bytes: int
    token_bytes: int
    reserve_bytes: int

    @classmethod
    def of(cls, shape: ModelShape, bytes_per_number: int, *, gpu: bool) -> MemoryPlan:
        """For a model of this shape and dtype size, on a GPU or on a CPU.

        With width d, h heads and g key heads of size e, and MLP width f, the peak activations per token of a decoder
        are the larger of 4d + 2he + 4ge (attention; keys and values are copied once behind their prefix) and 3d + 2f
        (MLP; an encoder has f for 2f). Ours.
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
        """Total bytes with forward passes of this many tokens."""
        return self.weights_bytes + self.prefix_bytes + self.reserve_bytes + batch_tokens * self.token_bytes

    def batch_tokens(self, wanted: int, device_bytes: int, max_pair_tokens: int) -> int:
        """Tokens per forward pass: `wanted`, or fewer on a small device.

        Raises CheckpointError when not even one pair fits.
        """
        room = device_bytes - self.bytes_for(0)
        tokens = min(wanted, room // self.token_bytes)
        if tokens < max_pair_tokens:
            raise CheckpointError(
                f"the model needs {self.bytes_for(max_pair_tokens) / 1e9:.1f} GB for one pair, and the device has "
                f"{device_bytes / 1e9:.1f} GB: use a larger device or a smaller dtype"
            )
        return tokens
