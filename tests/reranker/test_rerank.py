"""The Python API: order, ties, cuts, and clear complaints."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from reranker import Reranker
from reranker.errors import InvalidField, NonFiniteLogit, PairTooLong
from reranker.ranking import best_first
from reranker.types import ScoredCandidate

QUERY = "when is high tide"
DOCUMENTS = [
    "Bread rises because of yeast.",
    {"id": "t1", "title": "Tide table", "text": "High tide is at noon."},
    "High tide is at noon and at midnight.",
    "",
]


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker(dtype="float32")


def test_rank_is_score_in_order(reranker: Reranker) -> None:
    scores = reranker.score(QUERY, DOCUMENTS)
    hits = reranker.rank(QUERY, DOCUMENTS)

    assert scores.dtype == np.float32
    assert [hit.index for hit in hits] == np.argsort(-scores).tolist()
    assert [hit.logit for hit in hits] == pytest.approx(sorted(scores, reverse=True))
    assert {hit.index: hit.id for hit in hits} == {0: None, 1: "t1", 2: None, 3: None}
    assert hits[0].index in (1, 2)
    assert not any(hit.truncated for hit in hits)


def test_top_n_cuts_and_may_exceed_the_list(reranker: Reranker) -> None:
    whole = reranker.rank(QUERY, DOCUMENTS)
    assert reranker.rank(QUERY, DOCUMENTS, top_n=2) == whole[:2]
    assert reranker.rank(QUERY, DOCUMENTS, 99) == whole


def test_identical_documents_keep_input_order(reranker: Reranker) -> None:
    assert [hit.index for hit in reranker.rank(QUERY, ["the same"] * 5)] == [0, 1, 2, 3, 4]


def test_no_documents_are_no_hits(reranker: Reranker) -> None:
    assert reranker.rank(QUERY, []) == []
    assert reranker.score(QUERY, []).tolist() == []


def test_long_passages_are_cut_and_flagged_refused_or_read_in_windows(reranker: Reranker) -> None:
    long = "Bread rises because of yeast. " * 80 + "High tide is at noon and at midnight."
    (cut,) = reranker.rank(QUERY, [long])
    assert cut.truncated
    assert cut.tokens == 228
    with pytest.raises(PairTooLong, match="document 1 and the query exceed 228 tokens"):
        reranker.rank(QUERY, ["short", long], truncation="error")
    (best,) = reranker.rank(QUERY, [long], truncation="max_passage")
    assert not best.truncated
    assert best.logit > cut.logit + 3  # only the last window speaks of the tide
    assert best.tokens > 228


@pytest.mark.parametrize(
    ("documents", "field"),
    [
        ([3], "documents.0"),
        (["a", {"text": 3}], "documents.1.text"),
        ([{"id": 7, "text": "a"}], "documents.0.id"),
        ([{}], "documents.0"),
        ([{"text": "a", "body": "b"}], "documents.0"),
    ],
)
def test_bad_documents_are_named(reranker: Reranker, documents: list, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        reranker.rank(QUERY, documents)
    assert caught.value.field == field


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_refused(reranker: Reranker, query: str) -> None:
    with pytest.raises(InvalidField, match="query: is empty"):
        reranker.rank(query, ["a"])


def test_top_n_below_one_is_refused(reranker: Reranker) -> None:
    with pytest.raises(InvalidField, match="top_n: got 0"):
        reranker.rank(QUERY, ["a"], 0)


def test_settings_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValidationError, match="template"):
        Reranker(template="other")
    with pytest.raises(ValidationError, match="device"):
        Reranker(device="tpu")


def test_nan_never_reaches_a_ranking(family: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(family, tmp_path / "damaged"))
    weights = load_file(damaged / "model.safetensors")
    for name in ("score.weight", "classifier.weight"):
        if name in weights:
            weights[name][0, 0] = float("nan")
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    reranker = Reranker(str(damaged))
    for ask in (reranker.rank, reranker.score):
        with pytest.raises(NonFiniteLogit, match="no finite score for document 0"):
            ask(QUERY, ["a", "b"])


def test_order_is_by_logit_and_stable() -> None:
    logits = np.array([0.5, 2.0, 0.5, -1.0, 2.0], dtype=np.float32)
    assert best_first(logits).tolist() == [1, 4, 0, 2, 3]
    assert best_first(logits, 3).tolist() == [1, 4, 0]
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(NonFiniteLogit, match="document 3"):
            best_first(np.array([1, 2, 3, bad], dtype=np.float32))


@pytest.mark.parametrize("logit", [-1000.0, -3.0, 0.0, 3.0, 1000.0])
def test_relevance_score_is_the_sigmoid_without_overflow(logit: float) -> None:
    score = ScoredCandidate(0, None, logit, False, 1).relevance_score
    assert score == pytest.approx(1 / (1 + math.exp(-logit)) if abs(logit) < 700 else float(logit > 0))
