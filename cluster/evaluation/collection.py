"""Collections as BEIR lays them out: a directory each, with queries, passages, a first-stage run and qrels."""

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
    """The files of one collection, called as its directory is."""

    name: str
    queries: Path
    corpus: Path
    run: Path
    qrels: Path


def find_collections(directory: Path, output: Path) -> list[Collection]:
    """The collections in a directory, by name; or the directory itself, where it holds the files of one.

    A directory with none of the files is none of them, nor is output, where results go. Raises InvalidFile, naming
    everything that is missing, and where results would be written into a collection.
    """
    if not directory.is_dir():
        raise InvalidFile(directory, "is not a directory" if directory.exists() else "no such directory")
    if any(_found(directory).values()):
        homes = [directory]
    else:
        homes = sorted(
            home
            for home in directory.iterdir()
            if home.is_dir() and any(_found(home).values()) and home.resolve() != output.resolve()
        )
    if not homes:
        raise InvalidFile(directory, f"holds no collections: each is a directory with {', '.join(map(_or, _NEEDED))}")
    found = {home: _found(home) for home in homes}
    lacking = {home: [_or(need) for need, path in files.items() if path is None] for home, files in found.items()}
    complaints = {home: f"lacks {', '.join(names)}" for home, names in lacking.items() if names}
    if directory in complaints:
        raise InvalidFile(directory, f"{complaints[directory]} (each may be .gz)")
    if complaints:
        listed = "; ".join(f"{home.name} {complaint}" for home, complaint in complaints.items())
        raise InvalidFile(directory, f"{listed} (each may be .gz)")
    collections = [
        Collection(home.resolve().name if home == directory else home.name, **{k: v for k, v in files.items() if v})
        for home, files in found.items()
    ]
    for home, collection in zip(homes, collections, strict=True):
        if (output / collection.name).resolve() == home.resolve():
            raise InvalidFile(output, f"the result would be written into {home} itself: choose another --output")
    return collections


def _found(home: Path) -> dict[str, Path | None]:
    """What there is of each file that is needed; plain before gzipped."""
    return {
        need: next(
            (home / f"{name}{end}" for name in names for end in ("", ".gz") if (home / f"{name}{end}").is_file()),
            None,
        )
        for need, names in _NEEDED.items()
    }


def _or(need: str) -> str:
    return " or ".join(_NEEDED[need])
