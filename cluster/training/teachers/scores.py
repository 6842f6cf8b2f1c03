"""Scores of teachers, stored beside a training set: one parquet file each, with what made them.

A file holds (query_id, docid, score). It is aligned with the groups by both ids, so a teacher scores exactly the
candidates that the student reads; a file of other queries or of another corpus is refused.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.training.data.training_set import TrainingSet
from reranker.errors import InvalidField, InvalidFile
from reranker.files import write_errors
from reranker.pairs import FloatArray
from reranker.training.teacher import FIRST_STAGE

_ABOUT = b"reranker.teacher"
_SCHEMA = pa.schema([("query_id", pa.string()), ("docid", pa.string()), ("score", pa.float32())])
MIN_COVERED = 0.5  # a file that scores fewer of the candidates belongs to another training set


def teacher_path(directory: Path, name: str) -> Path:
    """Raises InvalidField for a name that is not one of a file, or is the first stage's."""
    if not re.fullmatch(r"[\w.-]+", name) or name == FIRST_STAGE:
        raise InvalidField("teacher", f"{name!r} cannot be the name of a teacher: use letters, digits, - and _")
    return directory / f"teacher-{name}.parquet"


def write_teacher(path: Path, data: TrainingSet, scores: FloatArray, about: dict[str, Any]) -> None:
    """scores: float32 (candidates,), NaN where there is none. about: what made them, kept in the file."""
    scored = np.isfinite(scores)
    query = np.repeat(np.arange(len(data.queries)), np.diff(data.groups.offsets))[scored]
    table = pa.table(
        {
            "query_id": pa.array(data.query_ids).take(pa.array(query)),
            "docid": data.docids.combine_chunks().take(pa.array(data.groups.passages[scored])),
            "score": pa.array(scores[scored], pa.float32()),
        },
        schema=_SCHEMA.with_metadata(
            {_ABOUT: json.dumps({**about, "texts_sha256": data.about.get("texts_sha256")}).encode()}
        ),
    )
    temporary = path.with_name(f".{path.name}")
    with write_errors(path):
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)


def read_teacher(path: Path, data: TrainingSet) -> tuple[FloatArray, dict[str, Any]]:
    """Scores aligned with the groups, float32 (candidates,), NaN where there is none, and what made them.

    Raises InvalidFile where the file has no such columns, scores a candidate twice or with NaN, or scores less than
    half of the candidates.
    """
    if not path.is_file():
        raise InvalidFile(path, "no such teacher: make it with `reranker train teacher`")
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InvalidFile(path, f"is not a file of query_id, docid, score: {error}") from None
    made_for, texts = about.get("texts_sha256"), data.about.get("texts_sha256")
    if made_for and texts and made_for != texts:
        raise InvalidFile(path, "was made for other queries or passages: make it again with `reranker train teacher`")
    return aligned(path, table, data), about


def aligned(path: Path, table: pa.Table, data: TrainingSet) -> FloatArray:
    """The scores of a table of query_id, docid and score in the order of the candidates. Raises as `read_teacher`."""
    scores = table["score"].to_numpy()
    if not np.isfinite(scores).all():
        raise InvalidFile(path, "has a score that is not finite", int(np.flatnonzero(~np.isfinite(scores))[0]) + 1)
    query = pc.index_in(table["query_id"], pa.array(data.query_ids)).fill_null(-1).to_numpy().astype(np.int64)
    passage = pc.index_in(table["docid"], data.docids.combine_chunks()).fill_null(-1).to_numpy().astype(np.int64)
    unknown = (query < 0) | (passage < 0)
    if unknown.mean() > 1 - MIN_COVERED:
        row = int(np.flatnonzero(unknown)[0])
        raise InvalidFile(
            path,
            f"names other queries or passages than the training set, such as {table.slice(row, 1).to_pylist()[0]}",
        )
    width = len(data.corpus)
    keys = query[~unknown] * width + passage[~unknown]
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise InvalidFile(path, "scores a query and passage twice")
    wanted = np.repeat(np.arange(len(data.queries)), np.diff(data.groups.offsets)) * width + data.groups.passages
    at = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    found = ordered[at] == wanted if len(ordered) else np.zeros(len(wanted), dtype=bool)
    if found.mean() < MIN_COVERED:
        raise InvalidFile(
            path, f"scores {found.mean():.0%} of the training set's candidates: it was made for another one"
        )
    result = np.full(len(wanted), np.nan, dtype=np.float32)
    result[found] = scores[~unknown][order][at[found]]
    return result
