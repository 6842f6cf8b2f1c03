"""The values that travel between the parts: texts in, token arrays, scores out.

Knows nothing of tokenizers, models or transport. Ids are `str` everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Truncation = Literal["model", "error", "max_passage"]
OnDeadline = Literal["error", "partial"]


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


class RequestContext(NamedTuple):
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
    """A candidate's place in a ranking, with its texts.

    index: its position in the caller's list. relevance_score: sigmoid(logit), in [0, 1]; within a ranking, equal only
    where the logits are (see `ranking.relevance_scores`). truncated: the model did not read all of query and passage.
    tokens: length of the pair as the model read it, special tokens included. scored: false where the deadline came
    first; the logit is then below every number that a model gives.
    """

    index: int
    id: str | None
    logit: float
    relevance_score: float
    truncated: bool
    tokens: int
    title: str
    text: str
    scored: bool = True


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
