"""Linear layers fused with the elementwise operation that follows: activation, product, or sum.

On x86 CPUs oneDNN applies the operation to each tile before it is rounded and leaves the cache. That saves the
elementwise passes and is slightly more exact. The operators are those that torch.compile emits (torch 2.13,
`torch/_inductor/mkldnn_lowerings.py`). Other devices run two operations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from reranker.checkpoints.weights import Weights

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]

_TYPICAL_ROWS = 2048  # oneDNN chooses its block sizes for this many rows; any number works
_ROWS_STEP = 32
_ONEDNN = {
    "silu": ("swish", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
_TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}


class Linear:
    """weight: (out, in). bias: (out,) or None. Inputs are (tokens, in), outputs (tokens, out), contiguous."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._fused = fuses(weight.dtype, weight.device)
        # oneDNN needs weights in its blocked layout: reordering them here avoids doing it in every pass.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS) if self._fused else weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """x W^T + b"""
        if self._fused:  # functional.linear would add the bias in a separate pass
            return _pointwise(x, self._weight, self._bias, "none", "")
        return functional.linear(x, self._weight, self._bias)

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        """activation(x W^T + b)"""
        if self._fused:
            name, algorithm = _ONEDNN[activation]
            return _pointwise(x, self._weight, self._bias, name, algorithm)
        return _TORCH[activation](self(x))

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """(x W^T + b) * factor, factor: (tokens, out)"""
        if self._fused:
            return _pointwise_binary(x, factor, self._weight, self._bias, "mul")
        return self(x).mul_(factor)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """(x W^T + b) + residual, residual: (tokens, out)"""
        if self._fused:
            return _pointwise_binary(x, residual, self._weight, self._bias, "add")
        return self(x).add_(residual)


class LayerReader:
    """Reads layers from a checkpoint's weights. Every method raises CheckpointError for an unexpected shape."""

    def __init__(self, weights: Weights, dtype: torch.dtype, device: str) -> None:
        self._weights = weights
        self._dtype = dtype
        self._device = device

    def tensor(self, name: str, *shape: int) -> Tensor:
        return self._read([name], shape)

    def linear(self, *names: str, width: int, out: int, bias: bool = True) -> Linear:
        """The named layers fused into one with `out` outputs in total. bias: either all layers have one, or none."""
        weight = self._read([f"{name}.weight" for name in names], (out, width))
        return Linear(weight, self._read([f"{name}.bias" for name in names], (out,)) if bias else None)

    def _read(self, names: list[str], shape: tuple[int, ...]) -> Tensor:
        return self._weights.read(*names, shape=shape, dtype=self._dtype, device=self._device)


def pad_rows(x: Tensor) -> Tensor:
    """x: (tokens, ...). With oneDNN, adds rows of zeros up to a multiple of _ROWS_STEP.

    oneDNN compiles a kernel for every new number of rows, which takes as long as computing 20 more tokens.
    """
    missing = -len(x) % _ROWS_STEP if fuses(x.dtype, x.device) else 0
    return torch.cat((x, x.new_zeros(missing, *x.shape[1:]))) if missing else x


def fuses(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN fuses operations for this dtype on this device."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, name: str, algorithm: str) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], algorithm)
    return out


def _pointwise_binary(x: Tensor, other: Tensor, weight: Tensor, bias: Tensor | None, name: str) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, bias, name)
    return out
