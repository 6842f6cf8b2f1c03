"""The two stages of the offline road, as Ray Data actors: texts to tokens on CPUs, tokens to scores on the device.

Both are shells around what the online graph runs. A row is a query with all its candidates, so that the cut at
top-k needs no shuffle, and a batch is a fixed number of rows, so that a query's scores do not depend on timing.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
import pyarrow as pa

from cluster.batch.columns import from_columns, to_columns
from reranker.checkpoint import load_encoder
from reranker.distinct import distinct
from reranker.errors import CheckpointError
from reranker.fidelity import load_verified
from reranker.ranking import best_first
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import EncodedPairs, Passage

CANDIDATE_ROWS = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("docids", pa.list_(pa.string())),
        ("titles", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
    ]
)
RANKED_ROWS = pa.schema(
    [("query_id", pa.string()), ("docid", pa.string()), ("rank", pa.int32()), ("logit", pa.float32())]
)

T = TypeVar("T")


class EncodeStage:
    """CANDIDATE_ROWS -> query_id, docids, the columns of EncodedPairs, and each docid's place among them."""

    def __init__(self, checkpoint: CheckpointSettings) -> None:
        self._encoder = _attempt(lambda: load_encoder(checkpoint))

    def __call__(self, rows: pa.Table) -> pa.Table:
        encoder = self._encoder.result()
        encoded, all_places = [], []
        for row in rows.to_pylist():
            passages, places = distinct([Passage(*both) for both in zip(row["texts"], row["titles"], strict=True)])
            encoded.append(encoder.encode(row["query"], passages))
            all_places.append(places)
        kept = {name: rows.column(name).combine_chunks() for name in ("query_id", "docids")}
        return pa.table(kept | {"places": pa.array(all_places, pa.list_(pa.int32()))} | to_columns(encoded))


class ScoreStage:
    """Encoded rows -> RANKED_ROWS: of each query the best `top_k` (all where None), best first."""

    def __init__(self, checkpoint: CheckpointSettings, engine: EngineSettings, top_k: int | None) -> None:
        self._engine = _attempt(lambda: load_verified(checkpoint, engine).engine)
        self._top_k = top_k

    def __call__(self, rows: pa.Table) -> pa.Table:
        queries = from_columns(rows)
        logits = self._engine.result().score(EncodedPairs.concat(queries))
        ends = np.cumsum([len(pairs) for pairs in queries])
        tables = [
            self._ranked(row["query_id"], np.array(row["docids"], dtype=object), part[row["places"]])
            for row, part in zip(
                rows.select(["query_id", "docids", "places"]).to_pylist(), np.split(logits, ends[:-1]), strict=True
            )
        ]
        return pa.concat_tables(tables)

    def _ranked(self, query_id: str, docids: np.ndarray, logits: np.ndarray) -> pa.Table:
        best = best_first(logits, self._top_k)
        columns = [[query_id] * len(best), docids[best], np.arange(1, len(best) + 1), logits[best]]
        return pa.table(columns, schema=RANKED_ROWS)


def _attempt(load: Callable[[], T]) -> Future[T]:
    """Keep a CheckpointError for the first call: Ray tries an actor whose constructor fails again, and buries why."""
    loaded: Future[T] = Future()
    try:
        loaded.set_result(load())
    except CheckpointError as error:
        loaded.set_exception(error)
    return loaded
