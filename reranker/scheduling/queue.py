"""Which pairs run in the next forward pass.

Knows nothing of torch, asyncio or Ray, and is not thread-safe: one loop owns it.

The rule: every client that waits gets the same share of the tokens computed, and within it every request of that
client does; a request of priority p gets 1 / (1 + p) of what its siblings of priority 0 get. Who comes anew gets
four shares until a batch's worth of it was computed: a request that fits one batch waits little more than the batch
before it, however large and however many the others are. Nobody is starved. Batches mix requests; within a request
long pairs go first, so that pairs of like length run together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reranker.pairs import EncodedPairs, FloatArray
from reranker.scheduling.fair_queueing import FairQueue
from reranker.types import RequestContext


@dataclass(eq=False, slots=True)
class Job:
    """Pairs of one request that wait for their logits. `logits` is NaN for a pair until it has one."""

    pairs: EncodedPairs
    lengths: list[int]
    order: deque[int]  # pairs not yet in a batch, longest first
    logits: FloatArray
    unscored: int


@dataclass(slots=True)
class Batch:
    """One forward pass: `pairs`, and whose they are, in the same order."""

    pairs: EncodedPairs
    parts: list[tuple[Job, NDArray[np.intp]]]


@dataclass(eq=False, slots=True)
class _Request:
    """The jobs of one request. A token charged to it counts `price` times."""

    id: str
    price: int
    jobs: deque[Job] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Client:
    """The requests of one client, and which of them is next."""

    id: str
    fair_queue: FairQueue[_Request]
    requests: dict[str, _Request] = field(default_factory=dict)

    def put(self, context: RequestContext, job: Job) -> None:
        if context.request_id not in self.requests:
            self.requests[context.request_id] = request = _Request(context.request_id, 1 + context.priority)
            self.fair_queue.join(request)
        self.requests[context.request_id].jobs.append(job)

    def next(self) -> tuple[_Request, Job] | None:
        """The request whose turn it is and its first job with pairs left; None when no request has any."""
        while self.fair_queue:
            request = self.fair_queue.first()
            while request.jobs and not request.jobs[0].order:
                request.jobs.popleft()
            if request.jobs:
                return request, request.jobs[0]
            self.fair_queue.leave()
            del self.requests[request.id]
        return None


class TokenBudgetQueue:
    """Jobs in, batches of at most `max_batch_tokens` out; a pair longer than that gets a batch of its own."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._clients: dict[str, _Client] = {}
        self._fair_queue: FairQueue[_Client] = FairQueue(max_batch_tokens)
        self._backlog_tokens = 0

    @property
    def backlog_tokens(self) -> int:
        """Tokens that wait, not counting batches already handed out."""
        return self._backlog_tokens

    def put(self, context: RequestContext, pairs: EncodedPairs) -> Job:
        """Queue pairs of the context's request. A job without pairs is complete at once."""
        lengths = pairs.lengths
        order = np.argsort(-lengths, kind="stable")
        job = Job(
            pairs,
            lengths.tolist(),
            deque(order.tolist()),
            np.full(len(pairs), np.nan, dtype=np.float32),
            len(pairs),
        )
        if job.unscored:
            if context.client not in self._clients:
                self._clients[context.client] = client = _Client(context.client, FairQueue(self._max_batch_tokens))
                self._fair_queue.join(client)
            self._clients[context.client].put(context, job)
            self._backlog_tokens += sum(job.lengths)
        return job

    def cancel(self, job: Job) -> None:
        """Drop what of a job is not yet in a batch. Safe to call on a finished job."""
        self._backlog_tokens -= sum(job.lengths[pair] for pair in job.order)
        job.order.clear()

    def next_batch(self) -> Batch | None:
        """The next forward pass, None when nothing waits."""
        taken: dict[Job, list[int]] = {}
        room = self._max_batch_tokens
        while self._fair_queue:
            client = self._fair_queue.first()
            if (due := client.next()) is None:
                self._fair_queue.leave()
                del self._clients[client.id]
                continue
            request, job = due
            length = job.lengths[job.order[0]]
            if length > room and taken:
                break
            taken.setdefault(job, []).append(job.order.popleft())
            room -= length
            self._backlog_tokens -= length
            client.fair_queue.charge(length * request.price)
            self._fair_queue.charge(length)
        if not taken:
            return None
        parts = [(job, np.array(pairs, dtype=np.intp)) for job, pairs in taken.items()]
        return Batch(EncodedPairs.concat([job.pairs.take(pairs) for job, pairs in parts]), parts)

    def complete(self, batch: Batch, logits: FloatArray) -> list[Job]:
        """Hand a batch's logits (pairs,) to its jobs; returns the jobs that are whole now."""
        done = []
        start = 0
        for job, pairs in batch.parts:
            job.logits[pairs] = logits[start : start + len(pairs)]
            start += len(pairs)
            job.unscored -= len(pairs)
            if not job.unscored:
                done.append(job)
        return done
