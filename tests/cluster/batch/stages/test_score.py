"""The score stage: a candidate that the model cannot score is a bad row, and the others keep their scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
import torch

from cluster.batch.scored import ScoredUnit
from cluster.batch.stages.encode import EncodeStage
from cluster.batch.stages.read import UNIT_ROW
from cluster.batch.stages.score import ScoreStage
from reranker.engine.engine import Engine
from reranker.errors import Unavailable
from reranker.fidelity import VerifiedEngine, load_verified
from reranker.pairs import EncodedPairs, FloatArray
from reranker.settings import CheckpointSettings, EngineSettings

CHECKPOINT = CheckpointSettings(dtype="float32", device="cpu")
POISON = "tide and bread " * 30
TEXTS = ["High tide is at noon.", POISON, "Bread rises.", "Low tide is at six.", POISON, "Yeast."]
DOCIDS = [f"d{number}" for number in range(6)]


class PoisonedEngine:
    """The engine of the embedded checkpoint, which raises for batches with a longer pair than `limit` tokens."""

    def __init__(self, engine: Engine, limit: int, error: Callable[[], Exception]) -> None:
        self._engine, self._limit, self._error = engine, limit, error

    def score(self, pairs: EncodedPairs) -> FloatArray:
        if int(pairs.lengths.max()) > self._limit:
            raise self._error()
        return self._engine.score(pairs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def load_poisoned(
    checkpoint: CheckpointSettings, settings: EngineSettings, *, error: Callable[[], Exception]
) -> VerifiedEngine:
    loaded = load_verified(checkpoint, settings)
    return replace(loaded, engine=cast(Engine, PoisonedEngine(loaded.engine, 40, error)))


def unit_row(texts: list[str]) -> pa.Table:
    """Two queries with three candidates each."""
    values = [7, ["q1", "q2"], ["when is high tide", "why does bread rise"], [3, 3], DOCIDS, [""] * 6, texts, 0.0]
    return EncodeStage(CHECKPOINT)(pa.table([[value] for value in values], schema=UNIT_ROW))


def scored(row: pa.Table, **load: Any) -> ScoredUnit:
    return ScoredUnit.from_row(ScoreStage(CHECKPOINT, EngineSettings(threads=1), None, **load)(row))


def logits_of(unit: ScoredUnit) -> dict[str, float]:
    return {row["docid"]: row["logit"] for row in unit.ranked.to_pylist()}


def test_passages_on_which_the_model_raises_are_bad_rows_and_the_others_are_scored() -> None:
    row = unit_row(TEXTS)
    whole = logits_of(scored(row))
    assert sorted(whole) == DOCIDS
    unit = scored(row, load=partial(load_poisoned, error=lambda: ValueError("of\n this   length " + "x" * 900)))
    assert [(bad.query_id, bad.docid) for bad in unit.bad] == [("q1", "d1"), ("q2", "d4")]
    assert {bad.reason for bad in unit.bad} == {"the model fails with ValueError: of this length " + "x" * 185}
    assert logits_of(unit) == pytest.approx({docid: whole[docid] for docid in ("d0", "d2", "d3", "d5")}, abs=1e-4)
    assert (unit.counts.queries, unit.counts.pairs, unit.ranked.num_rows) == (2, 6, 4)
    assert unit.ranked.column("rank").to_pylist() == [1, 2, 1, 2]


def test_query_whose_passages_all_fail_has_no_rows() -> None:
    """Equal passages of a query are one pair: each of them is a bad row of its own."""
    unit = scored(unit_row([*[POISON] * 3, *TEXTS[3:]]), load=partial(load_poisoned, error=lambda: KeyError("x")))
    assert [bad.docid for bad in unit.bad] == ["d0", "d1", "d2", "d4"]
    assert set(unit.ranked.column("query_id").to_pylist()) == {"q2"}


def test_pairs_are_not_blamed_for_a_full_device() -> None:
    with pytest.raises(Unavailable, match="no memory left for a single pair"):
        scored(unit_row(TEXTS), load=partial(load_poisoned, error=lambda: torch.OutOfMemoryError("full")))


def test_infinite_logits_are_bad_rows_with_their_value() -> None:
    class Infinite(PoisonedEngine):
        def score(self, pairs: EncodedPairs) -> FloatArray:
            logits = self._engine.score(pairs)
            logits[pairs.lengths > self._limit] = np.inf
            return logits

    def load(checkpoint: CheckpointSettings, settings: EngineSettings) -> VerifiedEngine:
        loaded = load_verified(checkpoint, settings)
        return replace(loaded, engine=cast(Engine, Infinite(loaded.engine, 40, ValueError)))

    unit = scored(unit_row(TEXTS), load=load)
    assert {bad.reason for bad in unit.bad} == {"its logit is inf: check the model's weights and dtype"}
    assert [bad.docid for bad in unit.bad] == ["d1", "d4"]
