"""Make a training set: read the queries, mine negatives, and write it with what it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import NonNegativeInt, PositiveInt, model_validator

from cluster.training.data.negatives import mine_negatives, negatives_from_run
from cluster.training.data.pairs import Labelled, read_collection, read_pairs
from cluster.training.data.training_set import write_training_set
from reranker.errors import InvalidField, InvalidFile
from reranker.extras import require
from reranker.ir.locations import content_sha256
from reranker.ir.runs import read_scored_run
from reranker.settings import Settings
from reranker.training.groups import usable_queries

_FORMS = "--pairs, or --queries with --corpus and --qrels"


class DataSettings(Settings):
    """What a training set is made from. licence: of the data, for the model card."""

    pairs: tuple[Path, ...] = ()
    max_per_file: PositiveInt | None = None
    queries: Path | None = None
    corpus: Path | None = None
    qrels: Path | None = None
    run: Path | None = None
    negatives_depth: PositiveInt = 30
    random_negatives: NonNegativeInt = 4
    seed: NonNegativeInt = 0
    licence: str | None = None

    @model_validator(mode="after")
    def _one_form_of_input(self) -> DataSettings:
        """Raises InvalidField."""
        collection = (self.queries, self.corpus, self.qrels)
        given = [path is not None for path in collection]
        if (bool(self.pairs) == any(given)) or any(given) != all(given) or (self.pairs and self.run):
            raise InvalidField("input", f"give {_FORMS}")
        return self

    def files(self) -> list[Path]:
        """Every input file; a directory of pairs stands for all tables in it. Raises InvalidFile for an empty one."""
        if not self.pairs:
            return [path for path in (self.queries, self.corpus, self.qrels, self.run) if path is not None]
        files: list[Path] = []
        for path in self.pairs:
            found = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
            if not found:
                raise InvalidFile(path, "is a directory without files of pairs")
            files += found
        return files


def make_training_set(
    settings: DataSettings, output: Path, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Write a training set to `output` and return what data.json says.

    Raises InvalidFile for wrong input or where nothing can be learned from it, and where `output` is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidFile(output, "is not an empty directory: choose another one, or remove it")
    if settings.run is None:
        require("bm25s")  # before minutes of reading
    files = settings.files()
    on_progress("reading queries and passages")
    labelled = _read(settings, files)
    where = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    _refuse_repeated_ids(labelled, where)
    if settings.run is not None:
        groups, scores = negatives_from_run(labelled, read_scored_run(settings.run), settings.negatives_depth)
    else:
        groups, scores = mine_negatives(
            labelled, settings.negatives_depth, settings.random_negatives, settings.seed, on_progress
        )
    usable = len(usable_queries(groups))
    if not usable:
        raise InvalidFile(where, "no query has a positive and another candidate: there is nothing to learn from")
    on_progress("writing")
    corpus = labelled.corpus()
    about = {
        "files": {path.name: {"sha256": content_sha256(path)} for path in files},
        "licence": settings.licence,
        "settings": settings.model_dump(
            mode="json", exclude={"pairs", "queries", "corpus", "qrels", "run", "licence"}
        ),
        "queries": len(labelled.queries),
        "usable_queries": usable,
        "passages": len(labelled.passages),
        "candidates": len(groups.passages),
        "positives": int((groups.labels > 0).sum()),
        "texts_sha256": texts_sha256(labelled.query_ids, labelled.queries, corpus),
    }
    write_training_set(output, corpus, labelled.query_ids, labelled.queries, groups, scores, about)
    return about


def texts_sha256(query_ids: Sequence[str], queries: Sequence[str], corpus: pa.Table) -> str:
    """SHA-256 over all ids and texts: scores of a teacher are valid for these and no others."""
    digest = hashlib.sha256()
    for values in (query_ids, queries, *(corpus[name].to_pylist() for name in ("docid", "title", "text"))):
        for value in values:
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _read(settings: DataSettings, files: Sequence[Path]) -> Labelled:
    if settings.queries is None or settings.corpus is None or settings.qrels is None:
        return read_pairs(files, settings.max_per_file)
    return read_collection(settings.queries, settings.corpus, settings.qrels)


def _refuse_repeated_ids(labelled: Labelled, where: str) -> None:
    for name, ids in (("query", labelled.query_ids), ("passage", labelled.docids)):
        values, counts = np.unique(np.array(ids, dtype=object), return_counts=True)
        if (counts > 1).any():
            raise InvalidFile(where, f"two texts have the same {name} id {values[counts > 1][0]!r}")
