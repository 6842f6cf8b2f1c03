"""What a forward allocates at once on a GPU, counted on meta tensors, which have shapes but no memory."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reranker.engine.models.heads import Attention, Heads
from reranker.engine.models.packed import Sequences
from reranker.engine.models.varlen import VarlenAttention


class PeakBytes(TorchDispatchMode):
    """While active, counts the bytes of all meta tensors made by torch's operations. peak: the most alive at once.

    A number or a truth value that a forward reads from a tensor is False.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._alive = 0
        self._sizes: dict[weakref.ref[Any], int] = {}

    def __enter__(self) -> PeakBytes:
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.is_nonzero.default, torch.ops.aten._local_scalar_dense.default):
            return False
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = weakref.ref(storage, self._freed)
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._alive += storage.nbytes()
            self.peak = max(self.peak, self._alive)

    def _freed(self, key: weakref.ref[Any]) -> None:
        self._alive -= self._sizes.pop(key, 0)


class MetaWeights:
    """Weights of any shape, without memory. See checkpoints.weights.Weights.

    columns: of tables that are read by rows.
    """

    def __init__(self, qk_norms: bool = False, biases: bool = False, columns: int = 0) -> None:
        self._columns = columns
        self._absent = () if qk_norms else ("q_norm.weight", "k_norm.weight")
        self._biases = biases

    def __contains__(self, name: str) -> bool:
        return not name.endswith(self._absent) and (self._biases or not name.endswith("bias"))

    def read(self, *names: str, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        return torch.empty(len(indices), self._columns)


def varlen_attention(
    sequences: Sequences,
    heads: Heads,
    *,
    causal: bool,
    like: Tensor,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> Attention:
    """The attention of a GPU with torch's varlen kernel, on any device."""
    assert scale is None
    assert softcap is None
    return VarlenAttention(sequences, heads, causal=causal, device=like.device, window=window)
