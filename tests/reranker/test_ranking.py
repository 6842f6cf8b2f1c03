"""Order, ties and relevance scores of a ranking."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reranker.errors import NonFiniteLogit
from reranker.pairs import CandidateScores
from reranker.ranking import best_first, ranked, relevance_scores, sigmoid
from reranker.types import Candidate, Passage, ScoredCandidate

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Where float64 sigmoids tie: near 1 from a logit of 23 up, and at 0 below -745.
LOGITS = st.lists(FINITE | st.floats(20, 60, width=32) | st.floats(-760, -700, width=32), max_size=40)


def ranking(logits: list[float], top_n: int | None = None, *, partial: bool = False) -> tuple[ScoredCandidate, ...]:
    count = len(logits)
    scores = CandidateScores(
        np.array(logits, dtype=np.float32), np.zeros(count, dtype=bool), np.full(count, 7, dtype=np.int32)
    )
    candidates = tuple(Candidate(Passage(f"text {n}", f"title {n}"), str(n)) for n in range(count))
    return ranked(candidates, scores, top_n, partial=partial)


def test_order_is_by_logit_and_stable() -> None:
    logits = np.array([0.5, 2.0, 0.5, -1.0, 2.0], dtype=np.float32)
    assert best_first(logits).tolist() == [1, 4, 0, 2, 3]
    assert best_first(logits, 3).tolist() == [1, 4, 0]
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(NonFiniteLogit, match="document 3"):
            best_first(np.array([1, 2, 3, bad], dtype=np.float32))


def test_hits_carry_their_documents() -> None:
    hits = ranking([0.0, 2.0])
    assert [(hit.index, hit.id, hit.title, hit.text) for hit in hits] == [
        (1, "1", "title 1", "text 1"),
        (0, "0", "title 0", "text 0"),
    ]


@pytest.mark.parametrize("logit", [-1000.0, -3.0, 0.0, 3.0, 1000.0])
def test_sigmoid_does_not_overflow(logit: float) -> None:
    expected = 1 / (1 + math.exp(-logit)) if abs(logit) < 700 else float(logit > 0)
    assert sigmoid(np.array([logit], dtype=np.float32))[0] == pytest.approx(expected, rel=1e-15)


@given(logits=LOGITS)
@example(logits=[100.0, 99.0, 98.0, 98.0])
@example(logits=[-1000.0, -2000.0, -2000.0, -3e38])
@example(logits=[0.0, -0.0])
def test_relevance_scores_order_and_tie_as_logits_do(logits: list[float]) -> None:
    given_logits = np.array(logits, dtype=np.float32)
    scores = relevance_scores(given_logits)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.array_equal(np.sign(np.subtract.outer(scores, scores)), _order(given_logits))
    # At most one float64 step a logit away from the sigmoid: below 1 and above 0 a step is no longer than this.
    assert scores == pytest.approx(sigmoid(given_logits), abs=max(1, len(logits)) * 2.0**-53)


@given(logits=LOGITS, top_n=st.integers(1, 50))
def test_top_n_changes_no_relevance_score(logits: list[float], top_n: int) -> None:
    assert ranking(logits, top_n) == ranking(logits)[:top_n]


@given(logits=LOGITS)
def test_sorting_hits_again_by_relevance_score_keeps_their_order(logits: list[float]) -> None:
    hits = ranking(logits)
    again = sorted(hits, key=lambda hit: -hit.relevance_score)
    assert [hit.index for hit in again] == [hit.index for hit in hits]


def test_relevance_scores_that_do_not_tie_are_plain_sigmoids() -> None:
    logits = np.array([-8.5, 0.25, 12.0], dtype=np.float32)
    assert relevance_scores(logits).tolist() == sigmoid(logits).tolist()


def test_unscored_candidates_have_a_relevance_score_of_0_below_all_others() -> None:
    hits = ranking([math.nan, -5000.0, math.nan, -6000.0], partial=True)
    assert [hit.index for hit in hits] == [1, 3, 0, 2]
    assert [hit.scored for hit in hits] == [True, True, False, False]
    assert hits[0].relevance_score > hits[1].relevance_score > hits[2].relevance_score
    assert hits[2].relevance_score == hits[3].relevance_score == 0.0


def _order(logits: np.ndarray) -> np.ndarray:
    """-1, 0 or 1 for each two logits, without a difference that could overflow or round to 0."""
    rows, columns = logits[:, None], logits[None, :]
    return (rows > columns).astype(float) - (rows < columns)
