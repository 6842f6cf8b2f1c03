"""Token arrays and scores of pairs, as passed between encoder, engine and ranking.

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
    """Scores of a shard's candidates in input order; all arrays are (candidates,).

    logits: float32, NaN for a candidate not scored in time. truncated: bool. tokens: int32, 0 for a candidate not
    scored in time.
    """

    logits: FloatArray
    truncated: BoolArray
    tokens: IntArray

    def take(self, candidates: IntArray) -> CandidateScores:
        """The scores of these candidates, in this order; indices may repeat."""
        return CandidateScores(self.logits[candidates], self.truncated[candidates], self.tokens[candidates])

    @classmethod
    def unscored(cls, candidates: int) -> CandidateScores:
        """Scores of candidates none of which was scored in time."""
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


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What scoring a shard took.

    queue_wait_s: from its arrival at the scorer until the first batch with a pair of it. device_s: its share, by
    tokens, of the time of its batches. batch_fill: tokens of those batches over the most that fit, a mean weighted by
    device_s; above 1 where a pair is longer than a batch. shared_tokens: of its tokens, those of query parts that
    were not computed again for every pair.
    """

    queue_wait_s: float = 0.0
    device_s: float = 0.0
    batch_fill: float = 0.0
    shared_tokens: int = 0

    def __add__(self, other: ShardWork) -> ShardWork:
        """One after the other."""
        device_s = self.device_s + other.device_s
        filled_s = self.batch_fill * self.device_s + other.batch_fill * other.device_s
        return ShardWork(
            self.queue_wait_s + other.queue_wait_s,
            device_s,
            filled_s / device_s if device_s else 0.0,
            self.shared_tokens + other.shared_tokens,
        )


class DevicePass(NamedTuple):
    """One batch with pairs of a shard. started_at: seconds of the monotonic clock.

    tokens, pairs: of the shard; batch_tokens: of the whole batch. fill: see ShardWork.batch_fill.
    """

    started_at: float
    seconds: float
    tokens: int
    pairs: int
    batch_tokens: int
    fill: float


class ShardScores(NamedTuple):
    """A scorer's answer to one shard. tokens_per_s: that replica's throughput with full batches."""

    scores: CandidateScores
    tokens_per_s: float
    work: ShardWork = ShardWork()


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """Tokenized pairs, each a prefix (query part) followed by a passage part, without padding.

    prefix_ids: int32, all prefixes concatenated; prefix_offsets: int64 (prefixes + 1,).
    prefix_of: int32 (pairs,), index of the prefix a pair starts with; pairs of one query usually share one.
    passage_ids: int32, all passage parts concatenated; passage_offsets: int64 (pairs + 1,).
    candidate_of: int32 (pairs,), non-decreasing: the candidate a pair belongs to. A long passage that is split into
    windows has several pairs.
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

    @property
    def repeated_prefix_tokens(self) -> int:
        """Tokens of prefixes that an earlier pair starts with too."""
        lengths = np.diff(self.prefix_offsets)
        return int(lengths[self.prefix_of].sum() - lengths[np.unique(self.prefix_of)].sum())

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
        """The given pairs in the given order. All prefixes are kept, so that prefix_of stays valid."""
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
        """All pairs of at least one part. Each part's candidate numbers continue those of the part before."""
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
        """Number of candidates."""
        return int(self.candidate_of[-1]) + 1 if len(self) else 0

    def candidate_scores(self, logits: FloatArray) -> CandidateScores:
        """Reduce pair logits (pairs,), NaN where missing, to candidates: the max logit and the sum of tokens.

        Source of taking the best window: MaxP (Dai and Callan, 2019).
        """
        if len(self) == self.candidates:  # one pair each: nothing to reduce
            scores = CandidateScores(logits, self.truncated, self.lengths)
        else:
            starts = np.searchsorted(self.candidate_of, np.arange(self.candidates))
            scores = CandidateScores(
                np.maximum.reduceat(logits, starts),  # NaN if any window is missing: its logit could be the max
                np.logical_or.reduceat(self.truncated, starts),
                np.add.reduceat(self.lengths, starts),
            )
        missing = np.isnan(scores.logits)
        if not missing.any():
            return scores
        return CandidateScores(scores.logits, scores.truncated & ~missing, np.where(missing, 0, scores.tokens))


class EncodedShard(NamedTuple):
    """A tokenizer's answer to one shard. encode_s: time it took, which counts towards the request's timeout."""

    pairs: EncodedPairs
    encode_s: float


def offsets(lengths: NDArray[np.integer]) -> OffsetArray:
    """Lengths (n,) -> int64 offsets (n + 1,) into their concatenation."""
    out = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=out[1:])
    return out
