"""Reads a checkpoint's tensors by name, each directly into its final dtype and device.

Files are memory-mapped and tensors copied one at a time, so loading needs memory for the weights only once. Knows
nothing of architectures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reranker.errors import CheckpointError, MissingWeights

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})  # as safetensors calls them
_OF_LAYER = re.compile(r"\.(layer|layers|block|blocks|h)\.\d+\.")
# Buffers that transformers computes itself, layers that only predict further tokens, and what T5 does not need: its
# decoder's first token attends to itself alone, and old files have a bias of positions in cross-attention, which no
# version of transformers reads.
_NEEDLESS = re.compile(
    r"inv_freq|(cos|sin)_cached|rotary_emb\.|position_ids|masked_bias|\.attn\.bias$|relative_attention_bias|^mtp\."
    r"|^decoder\.block\.\d+\.layer\.0\.SelfAttention\.[qk]\."
)


class Weights(Protocol):
    """The tensors of one checkpoint by name."""

    def __contains__(self, name: str) -> bool: ...

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        """The named tensors concatenated along dimension 0, as a new tensor of this shape. Raises CheckpointError."""
        ...

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        """These rows of a matrix and no others, float32 (indices, columns) on the CPU. Raises CheckpointError."""
        ...


class SafetensorsWeights:
    """The tensors of one or several safetensors files; of a tensor in several of them, the last.

    Raises CheckpointError for a file that cannot be read, MissingWeights without a file, or for another format.
    """

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        self._name = name
        self._file_of: dict[str, Path] = {}
        self._read: set[str] = set()
        if not files or any(path.suffix != ".safetensors" for path in files):
            raise MissingWeights(f"{name} has no safetensors weights")
        for path in files:
            with _opened(path) as file:
                self._file_of |= dict.fromkeys(file.keys(), path)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    @property
    def unread(self) -> set[str]:
        """Names of the tensors that nobody has read yet."""
        return self._file_of.keys() - self._read

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        _check_presence(self, self._name, names)
        return _concatenated(self._name, {name: self._mapped(name) for name in names}, shape, dtype, device)

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        _check_presence(self, self._name, [name])
        self._read.add(name)
        with _opened(self._file_of[name]) as file:
            matrix = file.get_slice(name)  # reads only what is indexed
            _check_rows(self._name, name, matrix.get_shape(), indices)
            return torch.cat([matrix[index : index + 1] for index in indices]).float()

    def _mapped(self, name: str) -> Tensor:
        self._read.add(name)
        with _opened(self._file_of[name]) as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


class JoinedWeights:
    """Weights whose tensors with certain beginnings of their names are in other files, under the rest of the name."""

    def __init__(self, weights: Weights, others: Mapping[str, Weights]) -> None:
        self._weights, self._others = weights, others

    def __contains__(self, name: str) -> bool:
        weights, own_name = self._holder(name)
        return own_name in weights

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        """See Weights. All of the names have the same beginning."""
        holders = [self._holder(name) for name in names]
        own_names = [own_name for _, own_name in holders]
        return holders[0][0].read(*own_names, shape=shape, dtype=dtype, device=device)

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        weights, own_name = self._holder(name)
        return weights.rows(own_name, indices)

    def _holder(self, name: str) -> tuple[Weights, str]:
        for beginning, weights in self._others.items():
            if name.startswith(beginning):
                return weights, name.removeprefix(beginning)
        return self._weights, name


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

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        _check_presence(self, self._name, [name])
        matrix = self._tensors[name]
        _check_rows(self._name, name, matrix.shape, indices)
        return matrix[list(indices)].float().cpu()


def check_all_used(checkpoint: str, unread: Iterable[str]) -> None:
    """Raises CheckpointError if a layer's tensor is among those that a model has not read: its config is not theirs.

    Tensors outside the layers may belong to other heads, which a reranker does not have.
    """
    for name in sorted(unread):
        if _OF_LAYER.search(f".{name}") and not _NEEDLESS.search(name):
            raise CheckpointError(
                f"{checkpoint} has weights that its config has no place for ({name}): its scores would leave them "
                "out: copy the config.json that belongs to them"
            )


def check_not_quantized(checkpoint: str, files: Sequence[Path]) -> None:
    """Raises CheckpointError for weights that are codes and no numbers. For a config that says nothing of it."""
    for path in files:
        if path.suffix != ".safetensors":
            continue
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                dtype = file.get_slice(name).get_dtype()
                if "weight" in name and dtype not in _FLOATS:
                    raise CheckpointError(
                        f"{checkpoint} has quantized weights ({name} is {dtype}), and its config.json has no "
                        "quantization_config that says how: copy the checkpoint in float32, bfloat16 or float16"
                    )


def _check_presence(weights: Weights, checkpoint: str, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in weights]
    if missing:
        raise MissingWeights(
            f"{checkpoint} lacks weights its config requires ({', '.join(missing)}): "
            "are they those of this architecture, with the head that its score is read from?"
        )


def _check_rows(checkpoint: str, name: str, shape: Sequence[int], indices: Sequence[int]) -> None:
    outside = [index for index in indices if not 0 <= index < shape[0]]
    if outside:
        raise CheckpointError(f"{checkpoint} has no row {outside[0]} in {name}: it has rows 0 to {shape[0] - 1}")


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
