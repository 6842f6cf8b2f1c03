"""The values that pass between modules: requests, passages, rankings.

Knows nothing of tokenizers, models or transport. Ids are `str` everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Truncation = Literal["model", "error", "max_passage"]
OnDeadline = Literal["error", "partial"]
Ties = Literal["trec_eval", "file"]
"""Order of a run. trec_eval: by score in float32, then by descending docid; file: by score, then in file order."""

Query = str | tuple[str, ...]
"""One query for all candidates, or one for each."""

MAX_WINDOWS = 64  # per passage under truncation "max_passage"; text beyond them is cut, and the passage flagged


class Passage(NamedTuple):
    """The text that a model reads: a title, which may be empty, and a text."""

    text: str
    title: str = ""

    @property
    def chars(self) -> int:
        """Characters of title and text, a measure of its cost before it is tokenized."""
        return len(self.title) + len(self.text)


class Candidate(NamedTuple):
    """A passage with its id; `docid` is None if the caller gave none."""

    passage: Passage
    docid: str | None = None


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its candidates, the same for every dialect; or pairs, each with a query of its own.

    top_n: number of results; None means all. client: the client whose share of the device this request uses.
    priority: 0 goes first; a request of priority p gets 1 / (1 + p) of the share that its client's requests of
    priority 0 get. on_deadline: at the deadline, answer with an error or with the results scored so far.
    max_pair_tokens, instruction: see PairOptions. tokens_per_minute: the rate of the client; None means no limit.
    request_id: what the answer is called by; '' for a new name. traceparent: see RequestContext.
    """

    query: Query
    candidates: tuple[Candidate, ...]
    top_n: int | None = None
    model: str | None = None
    truncation: Truncation = "model"
    timeout_ms: int | None = None
    client: str = ""
    priority: int = 0
    on_deadline: OnDeadline = "error"
    max_pair_tokens: int | None = None
    instruction: str | None = None
    tokens_per_minute: int | None = None
    request_id: str = ""
    traceparent: str = ""

    @property
    def pair_options(self) -> PairOptions:
        return PairOptions(self.truncation, self.max_pair_tokens, self.instruction)


def queries_of(query: Query, part: slice) -> Query:
    """The query of some of its candidates, or the queries."""
    return query if isinstance(query, str) else query[part]


class PairOptions(NamedTuple):
    """How the texts of a request become pairs.

    max_pair_tokens: cut pairs to fewer tokens than the model reads. instruction: None for the model's own.
    """

    truncation: Truncation = "model"
    max_pair_tokens: int | None = None
    instruction: str | None = None


class RequestContext(NamedTuple):
    """What a scorer needs to know about the request that a shard belongs to.

    request_id: unlike that of the answer no client can choose it, so that no two requests are taken for one.
    timeout_s: time left for the answer when the shard is sent; a duration, because the clocks of two nodes differ.
    partial: when it has passed, answer with the scores there are so far. refused_tokens: tokens of the requests that
    were refused since the last shard was sent, which autoscaling counts as demand. traceparent: the span that the
    shard's spans belong to, as W3C Trace Context writes it; '' where the request is not traced.
    """

    request_id: str
    client: str = ""
    priority: int = 0
    timeout_s: float = math.inf
    partial: bool = False
    refused_tokens: int = 0
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate's place in a ranking, with its texts.

    index: its position in the caller's list. relevance_score: sigmoid(logit), in [0, 1]; within a ranking, two are
    equal only if their logits are (see `ranking.relevance_scores`). truncated: query or passage was cut to fit the
    model. tokens: length of the pair as the model read it, special tokens included. scored: false if the deadline
    passed first; the logit is then `ranking.UNSCORED`, below the logits of all models.
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

    total_tokens: tokens read for all candidates, returned or not. unscored: number of candidates that were not scored
    by the deadline; they come last, in input order.
    """

    request_id: str
    model: str
    ranking: tuple[ScoredCandidate, ...]
    total_tokens: int
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The served model, as `/health` describes it.

    assumed_template: the checkpoint does not name its template. fidelity: "verified: …" or "unverified: …"; a model
    with wrong scores is never served. tokens_per_s: the latest measured speed of one replica with full batches; 0
    before the first measurement. max_batch_tokens: tokens per batch, and pass_ms: how long a batch of that size took
    when the replica started; 0 if not measured. start_s: how long that replica took to load, verify and warm up.
    forward: "fast", "huggingface" or "simulated". pooling: where logits are read. recipe: how pairs are written and
    scores read, by name, and who says so. instruction: of requests that bring none; None if the model takes none.
    warnings: what may make its scores other than expected, or slow. undetectable: errors too small for the check of
    its golden scores.
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
    pooling: str = "last"
    recipe: str = ""
    instruction: str | None = None
    warnings: tuple[str, ...] = ()
    undetectable: str = ""
    max_batch_tokens: int = 0
    pass_ms: float = 0.0
    forward: str = ""
    start_s: float = 0.0
