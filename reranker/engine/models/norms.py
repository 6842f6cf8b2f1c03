"""Norms over the last dimension: RMS norm (Zhang and Sennrich, 2019), and layer norm (Ba et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reranker.engine.models.linear import LayerReader


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """weight: (size,), in the dtype of the inputs, which are rounded before they are multiplied with it, as in Llama;
    or in float32, and the product is rounded, as in Gemma.
    """

    weight: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """x: (..., size). Returns its shape and dtype."""
        rounds_first = self.weight.dtype is x.dtype
        if rounds_first and (x.is_cuda or x.is_meta):  # tests count on meta tensors what a GPU allocates
            return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)
        # On CPUs this is ten times faster than rms_norm, which is several kernels there (torch 2.13).
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(self.epsilon).rsqrt_()
        scaled = x.float() * scale
        normed: Tensor = (
            scaled.to(x.dtype).mul_(self.weight) if rounds_first else scaled.mul_(self.weight).to(x.dtype)
        )
        return normed


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """weight: (width,). bias: (width,) or None."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float

    @classmethod
    def read(cls, reader: LayerReader, name: str, width: int, epsilon: float, *, bias: bool = True) -> LayerNorm:
        """Raises CheckpointError for an unexpected shape."""
        return cls(
            reader.tensor(f"{name}.weight", width), reader.tensor(f"{name}.bias", width) if bias else None, epsilon
        )

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
