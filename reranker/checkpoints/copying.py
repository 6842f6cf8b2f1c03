"""Copies a checkpoint so that the copy needs nothing else: an adapter with its base model inside.

Of the weights only the files that are read are copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from reranker.checkpoints.files import CheckpointFiles
from reranker.checkpoints.manifest import MANIFEST_NAME
from reranker.checkpoints.module_chain import chain_files
from reranker.checkpoints.weight_files import ADAPTER_CONFIG, weight_files, weight_index

_BASE = "base"
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".index.json")


def copy_checkpoint(files: CheckpointFiles, target: Path, *, with_code: bool) -> None:
    """Everything but the manifest and hidden files. with_code: also Python files."""
    _copy(files.directory, target, with_code=with_code)
    if files.base is not None:
        _copy(files.base, target / _BASE, with_code=with_code)
        config = json.loads((target / ADAPTER_CONFIG).read_bytes())
        config["base_model_name_or_path"] = _BASE
        (target / ADAPTER_CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _copy(source: Path, target: Path, *, with_code: bool) -> None:
    read = {*weight_files(source), weight_index(source), *chain_files(source)}

    def ignored(directory: str, names: Iterable[str]) -> set[str]:
        return {
            name
            for name in names
            if name.startswith(".")
            or name in (MANIFEST_NAME, "__pycache__")
            or (name.endswith(".py") and not with_code)
            or (name.endswith(_WEIGHT_ENDINGS) and Path(directory, name) not in read)
        }

    shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
