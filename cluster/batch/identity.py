"""The identity of a job: all that its result depends on, recorded when it begins and compared when it is resumed."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cluster.batch.settings import BatchSettings
from reranker.errors import JobRefused
from reranker.ir.locations import content_sha256
from reranker.version import __version__

if TYPE_CHECKING:
    from reranker.checkpoints.files import CheckpointFiles

Identity = dict[str, Any]


def identity_of(settings: BatchSettings, files: CheckpointFiles) -> Identity:
    """The identity as JSON, with a checksum of every input file, which is read once. Raises InvalidFile.

    `checkpoint` is None if the weights are not on this machine; then only the scale of each unit is compared.
    """
    from reranker.checkpoints.fingerprint import (
        checkpoint_sha256,
    )  # loads transformers, which an output does not need

    return {
        "version": __version__,
        "inputs": {role: content_sha256(location) for role, location in settings.inputs.items()},
        "model": files.name,
        "revision": settings.checkpoint.revision,
        "checkpoint": checkpoint_sha256(files),
        **settings.scores_depend_on(),
        **_recipe(settings),
    }


def _recipe(settings: BatchSettings) -> Identity:
    """What a recipe file says, for it may change under its name."""
    from reranker.checkpoints.recipes import recipe_named

    name = settings.checkpoint.recipe
    return {} if name == "auto" else {"recipe": recipe_named(name).model_dump(mode="json")}


def job_of(identity: Identity) -> str:
    """SHA-256 of the identity, for the files of its job; without `checkpoint`, which not every driver knows."""
    known = {name: value for name, value in identity.items() if name != "checkpoint"}
    return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def as_begun(begun: Identity | None, now: Identity) -> Identity:
    """The identity of a job that goes on: what was known of the checkpoint when it began stays known."""
    if begun is None or job_of(begun) != job_of(now) or now.get("checkpoint") is not None:
        return now
    return now | {"checkpoint": begun.get("checkpoint")}


def refuse_different_job(begun: Identity, now: Identity, output: str) -> None:
    """Raises JobRefused, naming the differences, unless a job of identity `now` may resume the one that was begun."""
    if different := _differences("", begun, now):
        raise JobRefused(
            f"{output}: its job was begun with {'; '.join(different)}. Results of different jobs must not be mixed: "
            "resume it with the same options, or choose another --output"
        )


def _differences(prefix: str, begun: Identity, now: Identity) -> list[str]:
    found = (_difference(f"{prefix}{name}", begun.get(name), now.get(name)) for name in begun.keys() | now.keys())
    return sorted(text for text in found if text)


def _difference(name: str, begun: Any, now: Any) -> str | None:
    if begun == now or (name == "checkpoint" and None in (begun, now)):
        return None
    if isinstance(begun, dict) and isinstance(now, dict):
        return "; ".join(_differences(f"{name}.", begun, now))
    if name.startswith("inputs."):
        return f"a different {name.removeprefix('inputs.')} file"
    if name == "checkpoint":
        return "different weights, tokenizer or config"
    return f"{name} {begun} (now {now})"
