"""The identity of a job: all that its result depends on, recorded when it begins and compared when it is resumed."""

from __future__ import annotations

from typing import Any

from cluster.batch.settings import BatchSettings
from reranker.checkpoints.files import CheckpointFiles
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.errors import JobRefused
from reranker.ir.locations import content_sha256
from reranker.version import __version__

Identity = dict[str, Any]


def identity_of(settings: BatchSettings, files: CheckpointFiles) -> Identity:
    """The identity as JSON, with a checksum of every input file, which is read once. Raises InvalidFile.

    `checkpoint` is None if the weights are not on this machine; then only the scale of each unit is compared.
    """
    return {
        "version": __version__,
        "inputs": {role: content_sha256(location) for role, location in settings.inputs.items()},
        "model": files.name,
        "revision": settings.checkpoint.revision,
        "checkpoint": checkpoint_sha256(files),
        **settings.scores_depend_on(),
    }


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
