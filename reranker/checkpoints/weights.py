"""Reads a checkpoint's tensors by name, each directly into its final dtype and device.

Files are memory-mapped and tensors copied one at a time, so loading needs memory for the weights only once. Knows
nothing of architectures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reranker.errors import CheckpointError, MissingWeights

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


class Weights(Protocol):
    """The tensors of one checkpoint by name."""

    def __contains__(self, name: str) -> bool: ...

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        """The named tensors concatenated along dimension 0, as a new tensor of this shape. Raises CheckpointError."""
        ...


class SafetensorsWeights:
    """A directory with model.safetensors, or with shards and their index. Raises CheckpointError without both."""

    def __init__(self, directory: Path) -> None:
        self._name = directory.name
        self._file_of: dict[str, Path] = {}
        index = directory / _INDEX
        if index.is_file():
            try:
                names = json.loads(index.read_bytes())["weight_map"]
            except (ValueError, KeyError):
                raise CheckpointError(f"{index} is not an index of safetensors shards") from None
            self._file_of = {name: directory / file for name, file in names.items()}
        elif (directory / _SINGLE).is_file():
            with _opened(directory / _SINGLE) as file:
                self._file_of = dict.fromkeys(file.keys(), directory / _SINGLE)
        else:
            raise MissingWeights(f"{directory} has no safetensors weights")

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        _check_presence(self, self._name, names)
        return _concatenated(self._name, {name: self._mapped(name) for name in names}, shape, dtype, device)

    def _mapped(self, name: str) -> Tensor:
        with _opened(self._file_of[name]) as file:
            try:
                tensor: Tensor = file.get_tensor(name)
            except SafetensorError:
                raise MissingWeights(f"{self._file_of[name]} lacks {name}, which the index expects there") from None
            return tensor


class ModuleWeights:
    """Tensors of a module in memory, for example one with a merged LoRA adapter."""

    def __init__(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self._name = name
        self._tensors = tensors

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        _check_presence(self, self._name, names)
        return _concatenated(self._name, {name: self._tensors[name] for name in names}, shape, dtype, device)


def _check_presence(weights: Weights, checkpoint: str, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in weights]
    if missing:
        raise MissingWeights(
            f"{checkpoint} lacks weights its config requires ({', '.join(missing)}): "
            "is it a one-logit sequence classifier?"
        )


def _concatenated(
    checkpoint: str, parts: Mapping[str, Tensor], shape: Sequence[int], dtype: torch.dtype, device: str
) -> Tensor:
    rows = sum(len(part) for part in parts.values())
    for name, part in parts.items():
        if (rows, *part.shape[1:]) != tuple(shape):
            raise CheckpointError(
                f"the weights of {checkpoint} do not match its config: {name} is {tuple(part.shape)}, "
                f"where the config requires {tuple(shape)}"
            )
    out = torch.empty(tuple(shape), dtype=dtype, device=device)
    start = 0
    for part in parts.values():
        out[start : start + len(part)].copy_(part)
        start += len(part)
    return out


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
