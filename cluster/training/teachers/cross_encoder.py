"""A cross-encoder as teacher: its logits of all candidates, by the batch job's own code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from cluster.batch.job import run_batch
from cluster.batch.settings import BatchSettings
from cluster.training.data.training_set import TrainingSet
from cluster.training.teachers.scores import aligned
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import locate
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.pairs import FloatArray

RunJob = Callable[[BatchSettings, Console], object]

_QUERIES_AT_ONCE = 2_048
_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("docids", pa.list_(pa.string())),
        ("titles", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
    ]
)


def cross_encoder_scores(
    data: TrainingSet, work: Path, options: dict[str, Any], console: Console, *, run_job: RunJob = run_batch
) -> tuple[FloatArray, dict[str, Any]]:
    """Logits of every candidate, float32 (candidates,), and what made them.

    work: directory of the batch job, which continues where it was interrupted, and which is removed at the end.
    options: of BatchSettings, beside inputs and output. Raises what the batch job raises.
    """
    work.mkdir(parents=True, exist_ok=True)
    candidates = work / "candidates.parquet"
    settings = BatchSettings.model_validate(
        {**options, "candidates": candidates, "output": work / "job", "resume": True}
    )
    files = locate(settings.checkpoint, weights=True)
    encoder = load_encoder(settings.checkpoint, files)
    write_candidates(candidates, data)
    run_job(settings, console)
    table = pq.read_table(work / "job" / "parquet", columns=["query_id", "docid", "logit"])
    scores = aligned(work, table.rename_columns(["query_id", "docid", "score"]), data)
    shutil.rmtree(work)
    return scores, {
        "kind": "cross-encoder",
        "model": files.name,
        "checkpoint": checkpoint_sha256(files),
        "template": encoder.template.name,
        "max_pair_tokens": encoder.max_pair_tokens,
    }


def write_candidates(path: Path, data: TrainingSet) -> None:
    """The groups as the table that `reranker batch --candidates` reads, equal bytes for equal groups."""
    groups = data.groups
    filled = np.flatnonzero(np.diff(groups.offsets))
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for start in range(0, len(filled), _QUERIES_AT_ONCE):
            queries = filled[start : start + _QUERIES_AT_ONCE]
            spans = [groups.candidates_of(int(query)) for query in queries]
            passages = data.corpus.take(pa.array(np.concatenate([groups.passages[span] for span in spans])))
            offsets = np.cumsum([0, *(span.stop - span.start for span in spans)]).astype(np.int32)
            lists = [
                pa.ListArray.from_arrays(offsets, passages[name].combine_chunks())
                for name in ("docid", "title", "text")
            ]
            ids, texts = ([values[query] for query in queries] for values in (data.query_ids, data.queries))
            writer.write_table(pa.Table.from_arrays([pa.array(ids), pa.array(texts), *lists], schema=_SCHEMA))
