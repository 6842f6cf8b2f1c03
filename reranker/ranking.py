"""From logits to a ranking: order, ties, relevance scores and the cut."""

import numpy as np
from numpy.typing import NDArray

from reranker.errors import NonFiniteLogit, PairTooLong
from reranker.pairs import CandidateScores, FloatArray
from reranker.types import Candidate, ScoredCandidate, Truncation

ScoreArray = NDArray[np.float64]

# Stands for the logit of a candidate that was not scored: finite, as JSON needs it, and below all logits of a model.
UNSCORED = float(np.finfo(np.float32).min)


def check_finite(logits: FloatArray) -> None:
    """Raises NonFiniteLogit if a logit is NaN or infinite: it could not be ordered."""
    finite = np.isfinite(logits)
    if not finite.all():
        raise NonFiniteLogit(int(np.argmin(finite)))


def best_first(logits: FloatArray, top_n: int | None = None) -> NDArray[np.intp]:
    """Indexes of the best `top_n` (None means all), highest logit first, ties in input order.

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

    partial: candidates with the logit NaN were not scored, and come last, in input order. Raises NonFiniteLogit for
    any other logit that is not finite.
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
    """Raises PairTooLong for the first pair that was cut, if the caller asked for an error instead."""
    if truncation == "error" and scores.truncated.any():
        index = int(np.argmax(scores.truncated))
        raise PairTooLong(index, int(scores.tokens[index]))  # a cut pair is as long as the limit
