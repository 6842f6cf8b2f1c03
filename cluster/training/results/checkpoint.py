"""Make the trained weights a full checkpoint: `reranker.json` with golden scores from Hugging Face."""

from __future__ import annotations

import shutil
from pathlib import Path

from reranker.checkpoints.manifest import MANIFEST_NAME
from reranker.importing import import_checkpoint
from reranker.settings import CheckpointSettings


def complete(directory: Path, template: str, max_pair_tokens: int) -> None:
    """Replace a Hugging Face checkpoint by itself with a manifest. Raises CheckpointError.

    One that has a manifest is left as it is, so that an interrupted run can call this again.
    """
    imported = directory.with_name(f".{directory.name}.imported")
    if not directory.is_dir() and (imported / MANIFEST_NAME).is_file():  # interrupted between the last two lines
        imported.replace(directory)
    if (directory / MANIFEST_NAME).is_file():
        return
    shutil.rmtree(imported, ignore_errors=True)
    settings = CheckpointSettings.model_validate(
        {"model": str(directory), "template": template, "max_pair_tokens": max_pair_tokens}
    )
    import_checkpoint(settings, imported)
    shutil.rmtree(directory)
    imported.replace(directory)
