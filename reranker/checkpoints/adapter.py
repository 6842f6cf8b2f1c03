"""A LoRA adapter beside its base model: what its files say, and merging it. PEFT is imported only to merge."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reranker.checkpoints.hugging_face import as_checkpoint_error
from reranker.checkpoints.weight_files import ADAPTER_CONFIG, MODEL_WEIGHTS, weight_files
from reranker.errors import CheckpointError, MissingWeights

_CLASSIFIERS = (None, "SEQ_CLS")
LANGUAGE_MODEL_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
_EMBEDDINGS = ("embed_tokens", "word_embeddings", "wte", "tok_embeddings", "shared")
_OUTPUTS = ("lm_head", "embed_out", "output_embeddings")


def adapter_config(directory: Path) -> dict[str, Any]:
    """Raises CheckpointError for what is no adapter of a classifier or a language model."""
    path = directory / ADAPTER_CONFIG
    with as_checkpoint_error(directory.name):
        config: dict[str, Any] = json.loads(path.read_bytes())
    if (
        not isinstance(config, dict)
        or not (name := config.get("base_model_name_or_path"))
        or not isinstance(name, str)
    ):
        raise CheckpointError(
            f"{path} has no base_model_name_or_path: name the directory or hub id of its base model"
        )
    task = config.get("task_type")
    if task not in (*_CLASSIFIERS, *LANGUAGE_MODEL_TASKS):
        raise CheckpointError(
            f"{directory.name} is an adapter of task type {task}: a reranker's is SEQ_CLS, with a head of one logit, "
            f"or {' or '.join(LANGUAGE_MODEL_TASKS)}"
        )
    if (directory / "config.json").is_file() and any((directory / name).is_file() for name in MODEL_WEIGHTS):
        raise CheckpointError(
            f"{directory.name} has the weights of a whole model beside an adapter: keep one of the two, "
            f"or remove config.json to apply the adapter to {config['base_model_name_or_path']}"
        )
    return config


def embedding_rows(directory: Path) -> int | None:
    """Rows of the embedding table in an adapter's weights; None if it leaves its base model's as it is."""
    return next((shape[0] for name, shape in _shapes(directory).items() if _is_of(_EMBEDDINGS, name)), None)


def merge_adapter(module: Any, directory: Path, missing: set[str]) -> Any:
    """The module with the adapter merged. missing: tensors that the base model lacks, and the adapter must have.

    Raises CheckpointError.
    """
    from peft import PeftModel

    names = [f".{name}" for name in _shapes(directory)]
    lost = sorted(key for key in missing if not any(name.endswith(f".{key}") for name in names))
    if lost:
        raise CheckpointError(_without(directory, lost[0]))
    rows = embedding_rows(directory)
    if rows is not None and rows != module.get_input_embeddings().num_embeddings:
        module.resize_token_embeddings(rows, mean_resizing=False)  # to what it was in training
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # refused below, by name
            adapted = PeftModel.from_pretrained(module, str(directory))
    except KeyError as error:  # a module that it should have saved
        raise CheckpointError(_without(directory, str(error.args[0]))) from error
    _check_all_applied(adapted, directory)
    if not hasattr(adapted, "merge_and_unload"):
        kind = adapted.active_peft_config.peft_type.value
        raise CheckpointError(f"{directory.name} is an adapter of type {kind}, which cannot be merged into its base")
    return adapted.merge_and_unload()


def _check_all_applied(adapted: Any, directory: Path) -> None:
    """Raises CheckpointError where the adapter's file and the adapted model have other tensors.

    PEFT only warns, and leaves what is missing without effect.
    """
    from peft import get_peft_model_state_dict

    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    found = _shapes(directory).keys()
    for odd, kind in (
        (found - expected.keys(), "has no place in its base model for"),
        (expected.keys() - found, "lacks"),
    ):
        if name := min((name for name in odd if not _is_of(_EMBEDDINGS + _OUTPUTS, name)), default=None):
            raise CheckpointError(
                f"{directory.name} is an adapter that {kind} {name.removeprefix('base_model.model.')}: is its base "
                "model the one that it was trained on, and its file whole?"
            )


def _without(directory: Path, tensor: str) -> str:
    return (
        f"{directory.name} is an adapter without its head ({tensor.removeprefix('base_model.model.')}): "
        "save it again, with the head in modules_to_save"
    )


def _shapes(directory: Path) -> dict[str, list[int]]:
    """Of every tensor by name; no weights are read into memory."""
    import torch
    from safetensors import safe_open

    files = weight_files(directory)
    if not files:
        raise MissingWeights(f"{directory.name} has no adapter_model.safetensors: copy it there")
    with as_checkpoint_error(directory.name):
        if files[0].suffix == ".safetensors":
            with safe_open(files[0], framework="pt") as file:
                return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  (no mapping)
        tensors: dict[str, torch.Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
        return {name: list(tensor.shape) for name, tensor in tensors.items()}


def _is_of(tables: Sequence[str], name: str) -> bool:
    """Whether a tensor is one of these tables whole, as PEFT saves those that were resized."""
    return name.endswith("weight") and any(f".{table}." in name for table in tables)
