"""From the token states of an encoder to its logit: the pooling, and a chain of small layers.

The chain is data, because libraries save the same arithmetic under different names and with different biases:
transformers as `head` and `classifier`, sentence-transformers as one directory per module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reranker.engine.models.linear import LayerReader
from reranker.engine.models.norms import LayerNorm
from reranker.engine.models.packed import Sequences
from reranker.engine.models.transfer import on_device

Pooling = Literal["cls", "mean"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}
ACTIVATIONS = frozenset(_ACTIVATIONS)


class Dense(NamedTuple):
    """A linear layer. name: of its tensors, without `.weight`. activation: one of ACTIVATIONS, None for none."""

    name: str
    outputs: int
    bias: bool
    activation: str | None = None


class Norm(NamedTuple):
    """A layer norm. name: as in Dense."""

    name: str
    bias: bool
    epsilon: float


@dataclass(frozen=True, slots=True)
class Head:
    """pooling: reads the state of the first token, or the mean of all. layers: the last has one output."""

    pooling: Pooling
    layers: tuple[Dense | Norm, ...]

    def read(self, reader: LayerReader, width: int) -> Callable[[Tensor], Tensor]:
        """The chain as a function, (pairs, width) -> (pairs, 1). Raises CheckpointError for an unexpected shape."""
        steps: list[Callable[[Tensor], Tensor]] = []
        for layer in self.layers:
            if isinstance(layer, Norm):
                steps.append(LayerNorm.read(reader, layer.name, width, layer.epsilon, bias=layer.bias))
                continue
            steps.append(reader.linear(layer.name, width=width, out=layer.outputs, bias=layer.bias))
            width = layer.outputs
            if layer.activation is not None:
                steps.append(_ACTIVATIONS[layer.activation])

        def run(x: Tensor) -> Tensor:
            for step in steps:
                x = step(x)
            return x

        return run


def means(x: Tensor, sequences: Sequences) -> Tensor:
    """Mean state of each sequence, (sequences, width), summed in float32. x: (tokens or more, width)."""
    rows = on_device(np.arange(sequences.starts[-1]), x.device)
    starts = on_device(sequences.starts[:-1], x.device)
    # Its sums do not depend on the other sequences, nor on the order in which a GPU's threads add.
    return functional.embedding_bag(rows, x.float(), starts, mode="mean").to(x.dtype)
