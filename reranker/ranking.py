"""From logits to a ranking: order, ties and the cut."""

import numpy as np
from numpy.typing import NDArray

from reranker.errors import NonFiniteLogit, PairTooLong
from reranker.pairs import CandidateScores, FloatArray
from reranker.types import Candidate, ScoredCandidate, Truncation

# In place of a logit that is missing: finite, so that JSON can say it, and below every logit of a model.
UNSCORED = float(np.finfo(np.float32).min)


def best_first(logits: FloatArray, top_n: int | None = None) -> NDArray[np.intp]:
    """Indexes of the best `top_n` (all where None), highest logit first, ties in input order.

    Raises NonFiniteLogit when a logit is NaN or infinite: such a score has no place in an order.
    """
    finite = np.isfinite(logits)
    if not finite.all():
        raise NonFiniteLogit(int(np.argmin(finite)))
    return np.argsort(-logits, kind="stable")[:top_n]


def ranked(
    candidates: tuple[Candidate, ...], scores: CandidateScores, top_n: int | None = None, *, partial: bool = False
) -> tuple[ScoredCandidate, ...]:
    """The candidates best first.

    partial: a logit may be NaN, of a candidate that nothing was scored of; such candidates stand last, in input
    order. Raises NonFiniteLogit where that is not allowed.
    """
    missing = np.isnan(scores.logits) if partial else np.zeros(len(candidates), dtype=bool)
    logits = np.where(missing, UNSCORED, scores.logits)
    return tuple(
        ScoredCandidate(
            index=int(index),
            id=candidates[index].docid,
            logit=float(logits[index]),
            truncated=bool(scores.truncated[index]),
            tokens=int(scores.tokens[index]),
            scored=not missing[index],
        )
        for index in best_first(logits, top_n)
    )


def check_not_cut(scores: CandidateScores, truncation: Truncation) -> None:
    """Raises PairTooLong when the caller asked for an error instead of a cut, and a pair was cut."""
    if truncation == "error" and scores.truncated.any():
        index = int(np.argmax(scores.truncated))
        raise PairTooLong(index, int(scores.tokens[index]))  # a pair that was cut fills the budget exactly
