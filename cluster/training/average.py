"""The mean of the weights of several checkpoints of one architecture, such as runs with different seeds.

Source: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time", 2022.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cluster.training.results.checkpoint import complete
from cluster.training.results.saving import saving
from reranker.checkpoints.manifest import MANIFEST_NAME, Manifest, read_manifest
from reranker.errors import CheckpointError, InvalidField

_WEIGHTS = "model.safetensors"
# Of config.json: how a checkpoint was made, not what it computes.
_NOT_COMPARED = {"_name_or_path", "transformers_version", "dtype", "torch_dtype"}
_TOKENIZER = "tokenizer.json"


def average(output: Path, models: Sequence[Path]) -> None:
    """Write the mean to `output`, with everything else as in the first checkpoint, and new golden scores.

    Weights are read tensor by tensor, added in float64, and written in the dtype of the first. Raises CheckpointError
    where the checkpoints differ in config, tokenizer, template or shapes, or `output` is not empty.
    """
    if len(models) < 2:
        raise InvalidField("MODEL", f"the mean takes two checkpoints or more, got {len(models)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output} is not an empty directory: choose another one")
    first, *others = models
    manifest = _manifest(first)
    for other in others:
        _refuse_different(first, manifest, other)
    weights = _mean(models)
    ignore = shutil.ignore_patterns(MANIFEST_NAME, "*.safetensors", "README.md", ".*")
    with saving(output):
        shutil.copytree(first, output, dirs_exist_ok=True, ignore=ignore)
        save_file(weights, output / _WEIGHTS, metadata={"format": "pt"})
    complete(output, manifest.recipe.template.name, manifest.max_pair_tokens)


def _manifest(directory: Path) -> Manifest:
    if not (directory / _WEIGHTS).is_file():
        raise CheckpointError(f"{directory} has no {_WEIGHTS}: only whole checkpoints in one file are averaged")
    manifest = read_manifest(directory)
    if manifest is None:
        raise CheckpointError(f"{directory} has no {MANIFEST_NAME}: prepare it with `reranker model import`")
    return manifest


def _refuse_different(first: Path, manifest: Manifest, other: Path) -> None:
    found = _manifest(other)
    for name, ours, theirs in (
        ("template", manifest.recipe.template.name, found.recipe.template.name),
        ("max_pair_tokens", manifest.max_pair_tokens, found.max_pair_tokens),
    ):
        if ours != theirs:
            raise CheckpointError(f"{other} has {name} {theirs}, and {first} has {ours}: they cannot be averaged")
    ours, theirs = (json.loads((directory / "config.json").read_bytes()) for directory in (first, other))
    for name in sorted((ours.keys() | theirs.keys()) - _NOT_COMPARED):
        if ours.get(name) != theirs.get(name):
            raise CheckpointError(
                f"{other} has {name} {theirs.get(name)} in its config, and {first} has {ours.get(name)}: they cannot "
                "be averaged"
            )
    if (first / _TOKENIZER).is_file() and (first / _TOKENIZER).read_bytes() != _content(other / _TOKENIZER):
        raise CheckpointError(f"{other} has another tokenizer than {first}: they cannot be averaged")


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _mean(models: Sequence[Path]) -> dict[str, torch.Tensor]:
    try:
        files: list[Any] = [safe_open(directory / _WEIGHTS, framework="pt") for directory in models]
    except SafetensorError as error:
        raise CheckpointError(f"a {_WEIGHTS} is damaged: {error}") from None
    shapes = [{name: file.get_slice(name).get_shape() for name in file.keys()} for file in files]  # noqa: SIM118
    for directory, found in zip(models, shapes, strict=True):
        different = [name for name in sorted(shapes[0].keys() | found) if shapes[0].get(name) != found.get(name)]
        if different:
            raise CheckpointError(
                f"{directory} has {different[0]} of shape {found.get(different[0])}, and {models[0]} of "
                f"{shapes[0].get(different[0])}: they cannot be averaged"
            )
    mean = {}
    for name in shapes[0]:
        tensors = [file.get_tensor(name) for file in files]
        total = torch.stack([tensor.double() for tensor in tensors]).mean(0)
        mean[name] = total.to(tensors[0].dtype).contiguous()
    return mean
