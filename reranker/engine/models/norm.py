"""Layer norm over a checkpoint's weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from reranker.engine.models.linear import LayerReader


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
