"""Collections in BEIR's layout: one directory each, with queries, passages, a first-stage run and qrels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reranker.errors import InvalidFile

_NEEDED = {
    "queries": ("queries.jsonl",),
    "corpus": ("corpus.jsonl",),
    "run": ("run.trec",),
    "qrels": ("qrels.tsv", "qrels/test.tsv"),
}


@dataclass(frozen=True, slots=True)
class Collection:
    """The files of one collection, which has the name of its directory."""

    name: str
    queries: Path
    corpus: Path
    run: Path
    qrels: Path


def find_collections(directory: Path, output: Path) -> list[Collection]:
    """The directory itself if it is a collection, else the collections in it, sorted by name.

    Subdirectories without any of the files are skipped, and so is `output`. Raises InvalidFile, naming every missing
    file, and when results would be written into a collection.
    """
    if not directory.is_dir():
        raise InvalidFile(directory, "is not a directory" if directory.exists() else "no such directory")
    found = {directory: _found(directory)}
    if not any(found[directory].values()):
        subdirectories = sorted(path for path in directory.iterdir() if path.is_dir())
        found = {path: _found(path) for path in subdirectories if path.resolve() != output.resolve()}
        found = {path: files for path, files in found.items() if any(files.values())}
    if not found:
        expected = ", ".join(map(_alternatives, _NEEDED))
        raise InvalidFile(directory, f"contains no collection, which is a directory with {expected}")
    problems = []
    for path, files in found.items():
        if missing := ", ".join(_alternatives(role) for role, file in files.items() if file is None):
            problems.append(f"lacks {missing}" if path == directory else f"{path.name} lacks {missing}")
    if problems:
        raise InvalidFile(directory, f"{'; '.join(problems)} (each may be .gz)")
    collections = []
    for path, files in found.items():
        name = path.resolve().name if path == directory else path.name
        if (output / name).resolve() == path.resolve():
            raise InvalidFile(output, f"the result would be written into {path} itself: choose another --output")
        collections.append(Collection(name, **{role: file for role, file in files.items() if file}))
    return collections


def _found(directory: Path) -> dict[str, Path | None]:
    """The path of each needed file, or None; an uncompressed file is preferred to a gzipped one."""
    return {
        role: next(
            (path for name in names for end in ("", ".gz") if (path := directory / f"{name}{end}").is_file()), None
        )
        for role, names in _NEEDED.items()
    }


def _alternatives(role: str) -> str:
    return " or ".join(_NEEDED[role])
