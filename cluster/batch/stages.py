"""The stages of the offline road, as Ray Data sees them: read a unit, texts to tokens, tokens to a ranking.

Shells around what the online graph runs. A row is a unit: Ray Data never splits a row, so whatever it does with
blocks, a unit is encoded and scored in one piece.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
import pyarrow as pa

from cluster.batch.bad_rows import BadRow
from cluster.batch.columns import COLUMNS, from_columns, to_columns
from cluster.batch.plan import read_unit
from cluster.batch.scored import RANKED_ROWS, Counts, Scale, ScoredUnit, Seconds
from reranker import fingerprint
from reranker.checkpoint import load_encoder, locate
from reranker.distinct import distinct
from reranker.errors import CheckpointError
from reranker.fidelity import load_verified
from reranker.packing import pack
from reranker.ranking import best_first
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import EncodedPairs, Passage

_TEXTS = pa.list_(pa.large_string())
UNIT_ROW = pa.schema(
    [
        ("unit", pa.int64()),
        ("query_ids", pa.list_(pa.string())),
        ("queries", _TEXTS),
        ("counts", pa.list_(pa.int32())),
        ("docids", pa.list_(pa.string())),
        ("titles", _TEXTS),
        ("texts", _TEXTS),
        ("read_s", pa.float64()),
    ]
)

_AT_FAULT = "its weights or dtype are at fault"

T = TypeVar("T")


def read_stage(row: pa.Table, *, plan: str) -> pa.Table:
    """A unit's number -> UNIT_ROW. Runs where the plan's files are."""
    started = time.perf_counter()
    number = row.column("unit")[0].as_py()
    unit = read_unit(plan, number)
    columns = [number, unit.query_ids, unit.queries, unit.counts, unit.docids, unit.titles, unit.texts]
    columns.append(time.perf_counter() - started)
    return pa.table([[value] for value in columns], schema=UNIT_ROW)


class EncodeStage:
    """UNIT_ROW -> its ids, the columns of EncodedPairs, and each candidate's place among the pairs."""

    def __init__(self, checkpoint: CheckpointSettings) -> None:
        self._encoder = _attempt(lambda: load_encoder(checkpoint))

    def __call__(self, row: pa.Table) -> pa.Table:
        started = time.perf_counter()
        encoder = self._encoder.result()
        unit = row.to_pylist()[0]
        encoded: list[EncodedPairs] = []
        places = []
        pairs = end = 0
        for query, count in zip(unit["queries"], unit["counts"], strict=True):
            start, end = end, end + count
            texts = zip(unit["texts"][start:end], unit["titles"][start:end], strict=True)
            passages, place = distinct([Passage(text, title) for text, title in texts])
            encoded.append(encoder.encode(query, passages))
            places.append(place + pairs)
            pairs += len(passages)
        columns = {name: row.column(name) for name in ("unit", "query_ids", "counts", "docids", "read_s")}
        columns["places"] = pa.array([np.concatenate(places)], pa.list_(pa.int32()))
        columns |= to_columns([EncodedPairs.concat(encoded)])
        empty = sum(not text.strip() for text in unit["texts"])
        columns |= {"empty": pa.array([empty]), "encode_s": pa.array([time.perf_counter() - started])}
        return pa.table(columns)


class ScoreStage:
    """An encoded unit -> ScoredUnit's row: of each query the best `top_k` (all where None), best first."""

    def __init__(self, checkpoint: CheckpointSettings, engine: EngineSettings, top_k: int | None) -> None:
        self._top_k = top_k
        self._loaded = _attempt(lambda: load_verified(checkpoint, engine))
        self._scale = _attempt(lambda: self._scale_of(checkpoint))
        self._worker = f"{os.uname().nodename}:{os.getpid()}"

    def __call__(self, row: pa.Table) -> pa.Table:
        engine, scale = self._loaded.result().engine, self._scale.result()
        started = time.perf_counter()
        (pairs,) = from_columns(row)
        engine.forget()
        logits = engine.score(pairs)
        score_s = time.perf_counter() - started
        unit = row.drop_columns(list(COLUMNS)).to_pylist()[0]
        places = np.array(unit["places"])
        ranked, bad = self._ranked(unit["query_ids"], unit["counts"], unit["docids"], logits[places])
        tokens = int(pairs.lengths.sum())
        counts = Counts(
            queries=len(unit["counts"]),
            pairs=len(places),
            scored=len(pairs),
            tokens=tokens,
            padding=_computed_tokens(pairs, scale.max_batch_tokens) - tokens if engine.pads else 0,
            empty=unit["empty"],
            truncated=int(pairs.truncated[places].sum()),
        )
        seconds = Seconds(unit["read_s"], unit["encode_s"], score_s)
        return ScoredUnit(unit["unit"], ranked, bad, scale, counts, seconds, self._worker).to_row()

    def _ranked(
        self, query_ids: list[str], counts: list[int], docids: list[str], logits: np.ndarray
    ) -> tuple[pa.Table, list[BadRow]]:
        tables, bad = [RANKED_ROWS.empty_table()], []
        end = 0
        for query_id, count in zip(query_ids, counts, strict=True):
            start, end = end, end + count
            names, scores = np.array(docids[start:end], dtype=object), logits[start:end]
            finite = np.isfinite(scores)
            bad += [
                BadRow(f"the model gave {score} for it: {_AT_FAULT}", query_id=query_id, docid=name)
                for name, score in zip(names[~finite], scores[~finite], strict=True)
            ]
            names, scores = names[finite], scores[finite]
            best = best_first(scores, self._top_k)
            columns = [[query_id] * len(best), names[best], np.arange(1, len(best) + 1), scores[best]]
            tables.append(pa.table(columns, schema=RANKED_ROWS))
        return pa.concat_tables(tables).combine_chunks(), bad

    def _scale_of(self, checkpoint: CheckpointSettings) -> Scale:
        loaded = self._loaded.result()
        about = loaded.description
        return Scale(
            about.model,
            fingerprint.of_checkpoint(locate(checkpoint, weights=True)),
            about.template,
            about.template_version,
            about.max_pair_tokens,
            about.dtype,
            about.device.partition(":")[0],
            loaded.engine.max_batch_tokens,
        )


def _computed_tokens(pairs: EncodedPairs, max_batch_tokens: int) -> int:
    lengths = pairs.lengths
    return sum(len(batch) * int(lengths[batch].max()) for batch in pack(lengths, max_batch_tokens, padded=True))


def _attempt(load: Callable[[], T]) -> Future[T]:
    """Keep a CheckpointError for the first call: Ray tries an actor whose constructor fails again, and buries why."""
    loaded: Future[T] = Future()
    try:
        loaded.set_result(load())
    except CheckpointError as error:
        loaded.set_exception(error)
    return loaded
