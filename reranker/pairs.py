"""Token arrays and scores of pairs: what travels between encoder, engine and ranking.

Knows nothing of tokenizers, models or transport.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
OffsetArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """Scores of a shard's candidates in input order; all arrays (candidates,).

    logits: float32, NaN for a candidate that was not scored in time. truncated: bool. tokens: int32, 0 for such a
    candidate.
    """

    logits: FloatArray
    truncated: BoolArray
    tokens: IntArray

    def take(self, candidates: IntArray) -> CandidateScores:
        """The scores of these candidates, in this order; repetition is allowed."""
        return CandidateScores(self.logits[candidates], self.truncated[candidates], self.tokens[candidates])

    @classmethod
    def unscored(cls, candidates: int) -> CandidateScores:
        """What is known of candidates that nothing was scored of."""
        return cls(
            np.full(candidates, np.nan, dtype=np.float32),
            np.zeros(candidates, dtype=bool),
            np.zeros(candidates, dtype=np.int32),
        )

    @classmethod
    def concat(cls, parts: Sequence[CandidateScores]) -> CandidateScores:
        return cls(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.truncated for part in parts]),
            np.concatenate([part.tokens for part in parts]),
        )


class ShardScores(NamedTuple):
    """A scorer's answer to one shard. tokens_per_s: what that replica reads when its batches are full."""

    scores: CandidateScores
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """Tokenized pairs, each a prefix (query part) followed by a passage part, without padding.

    prefix_ids: int32, all prefixes end to end; prefix_offsets: int64 (prefixes + 1,).
    prefix_of: int32 (pairs,), which prefix a pair starts with; pairs of one query usually share one.
    passage_ids: int32, all passage parts end to end; passage_offsets: int64 (pairs + 1,).
    candidate_of: int32 (pairs,), not decreasing: the candidate a pair belongs to (several pairs where a long
    passage is read in windows).
    truncated: bool (pairs,).
    """

    prefix_ids: IntArray
    prefix_offsets: OffsetArray
    prefix_of: IntArray
    passage_ids: IntArray
    passage_offsets: OffsetArray
    candidate_of: IntArray
    truncated: BoolArray

    def __len__(self) -> int:
        return len(self.prefix_of)

    @property
    def lengths(self) -> IntArray:
        """Tokens of each pair, int32 (pairs,)."""
        prefix_lengths = np.diff(self.prefix_offsets)[self.prefix_of]
        return (prefix_lengths + np.diff(self.passage_offsets)).astype(np.int32)

    @property
    def prefix_lengths(self) -> IntArray:
        """Tokens of each pair's prefix, int32 (pairs,)."""
        return np.diff(self.prefix_offsets)[self.prefix_of].astype(np.int32)

    def pair_ids(self, pair: int) -> IntArray:
        """The whole pair as one sequence of token ids, int32 (tokens,)."""
        prefix = self.prefix_of[pair]
        return np.concatenate(
            (
                self.prefix_ids[self.prefix_offsets[prefix] : self.prefix_offsets[prefix + 1]],
                self.passage_ids[self.passage_offsets[pair] : self.passage_offsets[pair + 1]],
            )
        )

    def take(self, pairs: NDArray[np.intp]) -> EncodedPairs:
        """The given pairs in the given order. All prefixes are kept, so that indexes into them stay valid."""
        starts, ends = self.passage_offsets[pairs], self.passage_offsets[pairs + 1]
        parts = [self.passage_ids[start:end] for start, end in zip(starts, ends, strict=True)]
        return EncodedPairs(
            self.prefix_ids,
            self.prefix_offsets,
            self.prefix_of[pairs],
            np.concatenate(parts) if parts else self.passage_ids[:0],
            offsets(ends - starts),
            self.candidate_of[pairs],
            self.truncated[pairs],
        )

    @classmethod
    def concat(cls, parts: Sequence[EncodedPairs]) -> EncodedPairs:
        """All pairs of all parts; candidates are numbered on from part to part. Needs at least one part."""
        if len(parts) == 1:
            return parts[0]
        prefixes = np.cumsum([0] + [len(part.prefix_offsets) - 1 for part in parts])
        candidates = np.cumsum([0] + [part.candidates for part in parts])
        return cls(
            np.concatenate([part.prefix_ids for part in parts]),
            offsets(np.concatenate([np.diff(part.prefix_offsets) for part in parts])),
            np.concatenate([part.prefix_of + n for part, n in zip(parts, prefixes, strict=False)]).astype(np.int32),
            np.concatenate([part.passage_ids for part in parts]),
            offsets(np.concatenate([np.diff(part.passage_offsets) for part in parts])),
            np.concatenate([part.candidate_of + n for part, n in zip(parts, candidates, strict=False)]).astype(
                np.int32
            ),
            np.concatenate([part.truncated for part in parts]),
        )

    @property
    def candidates(self) -> int:
        """How many candidates the pairs belong to."""
        return int(self.candidate_of[-1]) + 1 if len(self) else 0

    def candidate_scores(self, logits: FloatArray) -> CandidateScores:
        """Pair logits (pairs,), NaN where one is missing -> candidate scores: the best window, the sum of tokens."""
        if len(self) == self.candidates:  # one pair each: nothing to reduce
            scores = CandidateScores(logits, self.truncated, self.lengths)
        else:
            starts = np.searchsorted(self.candidate_of, np.arange(self.candidates))
            scores = CandidateScores(
                np.maximum.reduceat(logits, starts),  # NaN where a window is missing: half a passage has no score
                np.logical_or.reduceat(self.truncated, starts),
                np.add.reduceat(self.lengths, starts),
            )
        missing = np.isnan(scores.logits)
        if not missing.any():
            return scores
        return CandidateScores(scores.logits, scores.truncated & ~missing, np.where(missing, 0, scores.tokens))


def offsets(lengths: NDArray[np.integer]) -> OffsetArray:
    """Lengths (n,) -> int64 offsets (n + 1,) into their concatenation."""
    out = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=out[1:])
    return out
