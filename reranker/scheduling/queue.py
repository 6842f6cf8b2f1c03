"""Which pairs run in the next forward pass.

Knows nothing of torch, asyncio or Ray, and is not thread-safe: one loop owns it.

The rule. All waiting clients get equal shares of the computed tokens, and within a client all its requests do; a
request of priority p gets 1 / (1 + p) of the share of one with priority 0. The first tokens are charged at a quarter
(see fair_queueing): a batch's worth of a request, and eight of a client that has not used the device lately. So a
request that fits one batch waits little more than the batch in progress, however many large requests there are, and
one of a hundred documents little more than alone, however much another client sends. No request is starved. Batches
mix requests. Within a request the longest pairs go first, so that pairs of similar length share a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reranker.pairs import EncodedPairs, FloatArray, IntArray
from reranker.scheduling.fair_queueing import FairQueue
from reranker.types import RequestContext

CLIENT_HEAD_START_BATCHES = 8  # about a hundred documents


@dataclass(eq=False, slots=True)
class Job:
    """Pairs of one request and their logits, NaN until computed.

    lengths: tokens of each pair, and costs: those that it takes in a forward pass. unbatched: pairs not yet in a
    batch, longest first. unscored: how many pairs have no logit yet.
    """

    pairs: EncodedPairs
    lengths: list[int]
    costs: list[int]
    unbatched: deque[int]
    logits: FloatArray
    unscored: int


@dataclass(slots=True)
class Batch:
    """Pairs of one forward pass. parts: each job with the indices of its pairs, in the order of `pairs`."""

    pairs: EncodedPairs
    parts: list[tuple[Job, NDArray[np.intp]]]


@dataclass(eq=False, slots=True)
class _Request:
    """The jobs of one request. price: factor on the cost charged to it."""

    id: str
    price: int
    jobs: deque[Job] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Client:
    """The requests of one client and their fair queue."""

    id: str
    fair_queue: FairQueue[_Request]
    requests: dict[str, _Request] = field(default_factory=dict)

    def put(self, context: RequestContext, job: Job) -> None:
        if context.request_id not in self.requests:
            self.requests[context.request_id] = request = _Request(context.request_id, 1 + context.priority)
            self.fair_queue.join(request)
        self.requests[context.request_id].jobs.append(job)

    def next(self) -> tuple[_Request, Job] | None:
        """The request to serve next and its first job with unbatched pairs; None when no request has any."""
        while self.fair_queue:
            request = self.fair_queue.first()
            while request.jobs and not request.jobs[0].unbatched:
                request.jobs.popleft()
            if request.jobs:
                return request, request.jobs[0]
            self.fair_queue.leave()
            del self.requests[request.id]
        return None


class TokenBudgetQueue:
    """Takes jobs, gives batches of at most `max_batch_tokens`; a longer pair gets a batch of its own.

    pass_tokens: tokens that pairs of these lengths take in a forward pass. A batch then is one pass, unless the model
    pads: pairs of mixed lengths may take a few.
    """

    def __init__(
        self, max_batch_tokens: int, pass_tokens: Callable[[IntArray], IntArray] = lambda lengths: lengths
    ) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._pass_tokens = pass_tokens
        self._clients: dict[str, _Client] = {}
        self._fair_queue: FairQueue[_Client] = FairQueue(CLIENT_HEAD_START_BATCHES * max_batch_tokens)
        self._backlog_tokens = 0

    @property
    def backlog_tokens(self) -> int:
        """Tokens not yet in a batch."""
        return self._backlog_tokens

    def put(self, context: RequestContext, pairs: EncodedPairs) -> Job:
        """Queue pairs of the request in `context`. A job without pairs is complete at once."""
        lengths = pairs.lengths
        order = np.argsort(-lengths, kind="stable")
        job = Job(
            pairs,
            lengths.tolist(),
            self._pass_tokens(lengths).tolist(),
            deque(order.tolist()),
            np.full(len(pairs), np.nan, dtype=np.float32),
            len(pairs),
        )
        if job.unscored:
            if context.client not in self._clients:
                self._clients[context.client] = client = _Client(context.client, FairQueue(self._max_batch_tokens))
                self._fair_queue.join(client, context.client)
            self._clients[context.client].put(context, job)
            self._backlog_tokens += sum(job.lengths)
        return job

    def cancel(self, job: Job) -> None:
        """Drop the pairs of a job that are not yet in a batch. Safe to call on a finished job."""
        self._backlog_tokens -= sum(job.lengths[pair] for pair in job.unbatched)
        job.unbatched.clear()

    def next_batch(self) -> Batch | None:
        """The pairs of the next forward pass, None when nothing waits."""
        taken: dict[Job, list[int]] = {}
        room = self._max_batch_tokens
        while self._fair_queue:
            client = self._fair_queue.first()
            if (upcoming := client.next()) is None:
                self._fair_queue.leave()
                del self._clients[client.id]
                continue
            request, job = upcoming
            pair = job.unbatched[0]
            cost = job.costs[pair]
            if cost > room and taken:
                break
            taken.setdefault(job, []).append(job.unbatched.popleft())
            room -= cost
            self._backlog_tokens -= job.lengths[pair]
            client.fair_queue.charge(cost, request.price)
            self._fair_queue.charge(cost)
        if not taken:
            return None
        parts = [(job, np.array(pairs, dtype=np.intp)) for job, pairs in taken.items()]
        return Batch(EncodedPairs.concat([job.pairs.take(pairs) for job, pairs in parts]), parts)

    def complete(self, batch: Batch, logits: FloatArray) -> list[Job]:
        """Store a batch's logits (pairs,) in its jobs; returns the jobs that this completes."""
        done = []
        start = 0
        for job, pairs in batch.parts:
            job.logits[pairs] = logits[start : start + len(pairs)]
            start += len(pairs)
            job.unscored -= len(pairs)
            if not job.unscored:
                done.append(job)
        return done
