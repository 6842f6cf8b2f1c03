"""Copy a checkpoint and write its `reranker.json`: template, max length, and golden scores from Hugging Face.

The copy is written only if our engine reproduces the golden scores, in float32 and in bfloat16: what cannot be
served is refused here, and not in production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from reranker.checkpoints.config_file import read_config
from reranker.checkpoints.copying import copy_checkpoint
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import locate
from reranker.checkpoints.golden import golden_pairs
from reranker.checkpoints.manifest import Manifest, write_manifest
from reranker.checkpoints.output import new_directory
from reranker.errors import FidelityError
from reranker.fidelity import VerifiedEngine, load_verified
from reranker.settings import CheckpointSettings, Dtype, EngineSettings
from reranker.types import ModelDescription

_DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")

Loader = Callable[[CheckpointSettings, EngineSettings], VerifiedEngine]


@dataclass(frozen=True, slots=True)
class ImportedCheckpoint:
    """checks: what `/health` says of the copy, once per dtype in which it was replayed."""

    manifest: Manifest
    checks: tuple[ModelDescription, ...]


def import_checkpoint(
    settings: CheckpointSettings,
    output: Path,
    engine: EngineSettings | None = None,
    *,
    load: Loader = load_verified,
) -> ImportedCheckpoint:
    """Copy the checkpoint (a hub id is downloaded first) to `output` with a new `reranker.json`.

    engine: its forward is the one that is checked, and recorded. load: loads the copy and replays its golden scores.
    Needs memory for the weights in float32. Raises CheckpointError, also when `output` is not empty, and then leaves
    `output` as it was.
    """
    engine = engine or EngineSettings()
    with new_directory(output) as copy:
        files = locate(settings, weights=True)
        encoder = load_encoder(settings, files)
        manifest = Manifest(
            recipe=encoder.recipe,
            token_types=encoder.layout.sends_types,
            forward=engine.forward,
            config=read_config(files.base or files.directory),
            made_with=f"torch {torch.__version__}, transformers {transformers.__version__}",
            golden=golden_pairs(files, encoder, trust_remote_code=settings.trust_remote_code),
        )
        copy_checkpoint(files, copy, with_code=settings.trust_remote_code)
        write_manifest(copy, manifest)
        checks = tuple(_replayed(settings, copy, engine, dtype, load) for dtype in _DTYPES)
    return ImportedCheckpoint(manifest, checks)


def _replayed(
    settings: CheckpointSettings, copy: Path, engine: EngineSettings, dtype: Dtype, load: Loader
) -> ModelDescription:
    """Raises FidelityError that says what differs, and what to do."""
    as_served = CheckpointSettings(
        model=str(copy), dtype=dtype, device="cpu", trust_remote_code=settings.trust_remote_code
    )
    try:
        return load(as_served, engine).description
    except FidelityError as error:
        problem = error.problem
    advice = "Hugging Face's forward does not reproduce them here either, so it cannot be served"
    if engine.forward == "auto":
        try:
            load(as_served, engine.model_copy(update={"forward": "huggingface"}))
        except FidelityError:
            pass
        else:
            advice = "its fast forward differs from Hugging Face's: import it with --forward huggingface"
    raise FidelityError(f"{settings.model} was not imported: in {dtype}, {problem}", advice)
