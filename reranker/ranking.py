"""From logits to a ranking: order, ties, relevance scores and the cut."""

import numpy as np
from numpy.typing import NDArray

from reranker.errors import NonFiniteLogit, PairTooLong
from reranker.pairs import CandidateScores, FloatArray
from reranker.types import Candidate, ScoredCandidate, Truncation

ScoreArray = NDArray[np.float64]

# In place of a logit that is missing: finite, so that JSON can say it, and below every logit of a model.
UNSCORED = float(np.finfo(np.float32).min)


def check_finite(logits: FloatArray) -> None:
    """Raises NonFiniteLogit when a logit is NaN or infinite: such a score has no place in an order."""
    finite = np.isfinite(logits)
    if not finite.all():
        raise NonFiniteLogit(int(np.argmin(finite)))


def best_first(logits: FloatArray, top_n: int | None = None) -> NDArray[np.intp]:
    """Indexes of the best `top_n` (all where None), highest logit first, ties in input order.

    Raises NonFiniteLogit.
    """
    check_finite(logits)
    return np.argsort(-logits, kind="stable")[:top_n]


def sigmoid(logits: FloatArray) -> ScoreArray:
    """1 / (1 + exp(-logit)), float64 (candidates,), without overflow."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def relevance_scores(logits: FloatArray) -> ScoreArray:
    """sigmoid(logit) in [0, 1], float64 (candidates,), with ties only between equal logits, so that sorting by
    relevance score gives the order of the logits.

    In float64 the sigmoids of neighbouring float32 logits tie from about 23 up; from 37 up all are 1.0, and below
    -745 all are 0.0. Scores that tie are moved to the next free float64 below, or above 0.0 where there is none, so a
    score is off by at most as many float64 steps as there are candidates. The rule is ours.
    """
    distinct, place = np.unique(logits, return_inverse=True)  # ascending
    # Read as integers, the bits of non-negative floats keep the order of the floats, and neighbouring floats differ
    # by 1. Integers ascend strictly where, minus their rank, they do not descend.
    rank = np.arange(len(distinct))
    bits = sigmoid(distinct).view(np.int64) - rank
    bits = np.minimum.accumulate(bits[::-1])[::-1].clip(min=0) + rank
    return bits.view(np.float64)[place]


def ranked(
    candidates: tuple[Candidate, ...], scores: CandidateScores, top_n: int | None = None, *, partial: bool = False
) -> tuple[ScoredCandidate, ...]:
    """The candidates best first. Relevance scores do not depend on `top_n`.

    partial: a logit may be NaN, of a candidate that nothing was scored of; such candidates stand last, in input
    order. Raises NonFiniteLogit where that is not allowed.
    """
    missing = np.isnan(scores.logits) if partial else np.zeros(len(candidates), dtype=bool)
    logits = np.where(missing, UNSCORED, scores.logits)
    order = best_first(logits, top_n)
    relevance = relevance_scores(logits)
    return tuple(
        ScoredCandidate(
            index=int(index),
            id=candidates[index].docid,
            logit=float(logits[index]),
            relevance_score=float(relevance[index]),
            truncated=bool(scores.truncated[index]),
            tokens=int(scores.tokens[index]),
            title=candidates[index].passage.title,
            text=candidates[index].passage.text,
            scored=not missing[index],
        )
        for index in order
    )


def check_not_cut(scores: CandidateScores, truncation: Truncation) -> None:
    """Raises PairTooLong when the caller asked for an error instead of a cut, and a pair was cut."""
    if truncation == "error" and scores.truncated.any():
        index = int(np.argmax(scores.truncated))
        raise PairTooLong(index, int(scores.tokens[index]))  # a pair that was cut fills the budget exactly
