"""The values that travel between the parts: texts in, token arrays, scores out.

Knows nothing of tokenizers, models or transport. Ids are `str` everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Truncation = Literal["model", "error", "max_passage"]
OnDeadline = Literal["error", "partial"]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
OffsetArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Passage(NamedTuple):
    """What a model reads of a candidate."""

    text: str
    title: str = ""

    @property
    def chars(self) -> int:
        """Characters of it all: what it will cost, told before it is tokenized."""
        return len(self.title) + len(self.text)


class Candidate(NamedTuple):
    """A passage with its id; `docid` is None where the caller gave none."""

    passage: Passage
    docid: str | None = None


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its candidates, in no dialect.

    top_n: how many to return; None means all. client: whose share of the device it uses. priority: 0 goes first;
    a request of priority p gets 1 / (1 + p) of the share of its client's requests of priority 0.
    on_deadline: whether a late answer is an error or what was scored by then.
    """

    query: str
    candidates: tuple[Candidate, ...]
    top_n: int | None = None
    model: str | None = None
    truncation: Truncation = "model"
    timeout_ms: int | None = None
    client: str = ""
    priority: int = 0
    on_deadline: OnDeadline = "error"


class Ticket(NamedTuple):
    """What a scorer is told of the request that a shard belongs to.

    deadline_unix_s: after it nobody reads the answer (seconds since 1970, so that it holds on every node).
    partial: at the deadline, answer with what was scored by then. refused_tokens: of requests that were turned away
    since the last shard was sent; autoscaling wants to know of them.
    """

    request_id: str
    client: str = ""
    priority: int = 0
    deadline_unix_s: float = math.inf
    partial: bool = False
    refused_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate's place in a ranking.

    index: its position in the caller's list. truncated: the model did not read all of query and passage.
    tokens: length of the pair as the model read it, special tokens included. scored: false where the deadline came
    first; the logit is then below every number that a model gives.
    """

    index: int
    id: str | None
    logit: float
    truncated: bool
    tokens: int
    scored: bool = True

    @property
    def relevance_score(self) -> float:
        """sigmoid(logit), in [0, 1]."""
        if self.logit >= 0:
            return 1.0 / (1.0 + math.exp(-self.logit))
        return math.exp(self.logit) / (1.0 + math.exp(self.logit))


@dataclass(frozen=True, slots=True)
class RerankOutcome:
    """The answer to a RerankRequest: candidates best first, cut at its top_n.

    total_tokens: tokens read for all candidates, returned or not. unscored: candidates that the deadline left
    without a score; they stand last, in input order.
    """

    request_id: str
    model: str
    ranking: tuple[ScoredCandidate, ...]
    total_tokens: int
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What an operator wants to know of the model that answers.

    assumed_template: the checkpoint did not say how its pairs are written. fidelity: "verified: …" or
    "unverified: …"; a model whose scores are wrong never gets this far. tokens_per_s: what one replica reads when its
    batches are full, as measured last; 0 before the first.
    """

    model: str
    revision: str | None
    template: str
    template_version: int
    max_pair_tokens: int
    assumed_template: bool
    dtype: str
    device: str
    fidelity: str
    tokens_per_s: float = 0.0


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
