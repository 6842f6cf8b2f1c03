"""Which files hold a checkpoint's weights: those that Hugging Face reads, in its order of preference.

A directory may hold several sets: one file beside the shards it replaced, variants (`model.fp16.safetensors`), the
same weights in PyTorch's format. Only one set is read, and whatever lies beside it must not matter.
Source: `_get_resolved_checkpoint_files` of transformers 5, `load_peft_weights` of PEFT.
"""

from __future__ import annotations

from pathlib import Path

from reranker.checkpoints.json_files import read_object
from reranker.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"
MODEL_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The weight files that are read, sorted by name; of an adapter, the adapter's. Empty if there are none.

    A tensor that is in several of them is read from the last. Raises CheckpointError for an index that cannot be
    read or that names a file that is not there.
    """
    path = _preferred(directory)
    if path is None or path != weight_index(directory):
        return () if path is None else (path,)
    try:
        names = sorted(set(read_object(path)["weight_map"].values()))
        shards = tuple(directory / name for name in names)
    except (KeyError, TypeError, AttributeError):
        names = []
    if not names:
        raise CheckpointError(f"{path} is not an index of weight files: copy the checkpoint's own file again")
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(f"{path} names {missing[0]}, which is not there: copy all its files")
    return shards


def weight_index(directory: Path) -> Path | None:
    """The index that is read, None where the weights are in one file."""
    path = _preferred(directory)
    return path if path is not None and path.name.endswith(".index.json") else None


def _preferred(directory: Path) -> Path | None:
    """The file, or the index of files, that Hugging Face reads."""
    names = _ADAPTER if (directory / ADAPTER_CONFIG).is_file() else (*_named_by_config(directory), *MODEL_WEIGHTS)
    return next((directory / name for name in names if (directory / name).is_file()), None)


def _named_by_config(directory: Path) -> tuple[str, ...]:
    """The file that config.json names; it may name one instead of using the usual names."""
    name = read_object(directory / "config.json").get("transformers_weights")
    if name is None:
        return ()
    path = directory / str(name)
    if not path.resolve().is_relative_to(directory.resolve()) or not path.is_file():
        raise CheckpointError(f"{directory / 'config.json'}: transformers_weights names {name}, which is not there")
    return (str(name),)
