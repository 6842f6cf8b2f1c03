"""A training set on disk: corpus.parquet, groups.parquet, data.json, and one file per teacher.

Groups name their candidates by position in the corpus, so a passage is stored once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.errors import InvalidFile
from reranker.files import write_atomically, write_errors
from reranker.pairs import offsets
from reranker.training.groups import Groups
from reranker.types import Passage

CORPUS, GROUPS, DATA = "corpus.parquet", "groups.parquet", "data.json"
_CORPUS_SCHEMA = pa.schema([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())])
_GROUPS_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("passages", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.float32())),
        ("first_stage_scores", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A training set in memory; the texts stay in Arrow's memory map.

    query_ids, queries: (queries,). corpus: docid, title, text. groups: without teacher scores. first_stage: float32
    (candidates,), NaN where the first stage did not find a candidate. about: what data.json says.
    """

    query_ids: list[str]
    queries: list[str]
    corpus: pa.Table
    groups: Groups
    first_stage: np.ndarray
    about: dict[str, Any]

    def passage(self, position: int) -> Passage:
        return Passage(self.corpus["text"][position].as_py(), self.corpus["title"][position].as_py())

    @property
    def docids(self) -> pa.ChunkedArray:
        return self.corpus["docid"]


def write_training_set(
    directory: Path,
    corpus: pa.Table,
    query_ids: Sequence[str],
    queries: Sequence[str],
    groups: Groups,
    first_stage: np.ndarray,
    about: dict[str, Any],
) -> None:
    """Write all files; data.json, which marks the set as complete, comes last. Raises CannotWrite."""
    lists = [
        pa.ListArray.from_arrays(groups.offsets.astype(np.int32), values)
        for values in (groups.passages, groups.labels, first_stage.astype(np.float32))
    ]
    table = pa.Table.from_arrays([pa.array(query_ids), pa.array(queries), *lists], schema=_GROUPS_SCHEMA)
    with write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        pq.write_table(corpus.cast(_CORPUS_SCHEMA), directory / CORPUS, compression="zstd")
        pq.write_table(table, directory / GROUPS, compression="zstd")
        write_atomically(directory / DATA, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def read_training_set(directory: Path) -> TrainingSet:
    """Raises InvalidFile for a directory that `reranker train data` did not finish."""
    if not (directory / DATA).is_file():
        raise InvalidFile(directory, f"has no {DATA}: make a training set with `reranker train data`")
    try:
        about = json.loads((directory / DATA).read_text())
        corpus = pq.read_table(directory / CORPUS, schema=_CORPUS_SCHEMA, memory_map=True).combine_chunks()
        table = pq.read_table(directory / GROUPS, schema=_GROUPS_SCHEMA).combine_chunks()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InvalidFile(directory, f"is not a complete training set: {error}") from None
    flat = {
        name: np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table[name].chunks] or [[]])
        for name in ("passages", "labels", "first_stage_scores")
    }
    counts = table["passages"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    passages = flat["passages"].astype(np.int32)
    if len(passages) and not 0 <= passages.min() <= passages.max() < len(corpus):
        raise InvalidFile(directory / GROUPS, f"names passages that {CORPUS} does not have")
    return TrainingSet(
        table["query_id"].to_pylist(),
        table["query"].to_pylist(),
        corpus,
        Groups(offsets(counts), passages, flat["labels"].astype(np.float32)),
        flat["first_stage_scores"].astype(np.float32),
        about,
    )
