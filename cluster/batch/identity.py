"""Is it the same job? What a result depends on, recorded when a job begins, compared before another goes on."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from cluster.batch.settings import BatchSettings
from reranker.checkpoints.files import CheckpointFiles
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.errors import JobRefused
from reranker.ir.records import content_sha256

Identity = dict[str, Any]


def identity_of(settings: BatchSettings, files: CheckpointFiles) -> Identity:
    """Reads every input file once, to know it again. Raises InvalidFile.

    `checkpoint` is None where the weights are not on this machine: then the scorers tell.
    """
    return {
        "version": version("dear-reranker"),
        "inputs": {role: content_sha256(where) for role, where in settings.inputs.items()},
        "model": files.name,
        "revision": settings.checkpoint.revision,
        "checkpoint": checkpoint_sha256(files),
        **settings.scores_depend_on(),
    }


def refuse_other(begun: Identity, now: Identity, where: str) -> None:
    """Raises JobRefused, naming what differs, unless a job of identity `now` may go on with what was begun."""
    if different := _differences("", begun, now):
        raise JobRefused(
            f"{where}: the job there was begun with {'; '.join(different)}. Its results must not be mixed with "
            "others: go on as it was begun, or choose another --output"
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
        return f"another {name.removeprefix('inputs.')} file"
    if name == "checkpoint":
        return "other weights, or another tokenizer or config"
    return f"{name} {begun} (now {now})"
