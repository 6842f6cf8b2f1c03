"""Which pairs run in the next forward pass.

Knows nothing of torch, asyncio or Ray, and is not thread-safe: one loop owns it.

The rule: every request that waits gets the same share of the tokens computed (start-time fair queueing, Goyal et
al., 1996, with one flow a request and tokens as the cost). Among k waiting requests a small one is done after about
k times its own tokens, however large the others are. Batches mix requests; within one, long pairs go first, so that
pairs of like length run together.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reranker.types import EncodedPairs, FloatArray


@dataclass(eq=False, slots=True)
class Job:
    """Pairs of one request that wait for their logits. `logits` is whole once `waiting` is 0."""

    owner: str
    pairs: EncodedPairs
    lengths: list[int]
    order: deque[int]  # pairs not yet in a batch, longest first
    logits: FloatArray
    waiting: int


@dataclass(slots=True)
class Batch:
    """One forward pass: `pairs`, and whose they are, in the same order."""

    pairs: EncodedPairs
    parts: list[tuple[Job, NDArray[np.intp]]]


@dataclass(slots=True)
class _Flow:
    """The jobs of one request. `tag`: virtual time at which its next token is due."""

    tag: float
    jobs: deque[Job] = field(default_factory=deque)


class TokenBudgetQueue:
    """Jobs in, batches of at most `max_batch_tokens` out; a pair longer than that gets a batch of its own."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._flows: dict[str, _Flow] = {}
        self._due: list[tuple[float, int, str]] = []  # a heap; one entry a flow
        self._arrivals = itertools.count()
        self._now = 0.0
        self._backlog_tokens = 0

    @property
    def backlog_tokens(self) -> int:
        """Tokens that wait, not counting batches already handed out."""
        return self._backlog_tokens

    def put(self, owner: str, pairs: EncodedPairs) -> Job:
        """Queue pairs of the request `owner`. A job without pairs is complete at once."""
        lengths = pairs.lengths
        order = np.argsort(-lengths, kind="stable")
        job = Job(
            owner,
            pairs,
            lengths.tolist(),
            deque(order.tolist()),
            np.empty(len(pairs), dtype=np.float32),
            len(pairs),
        )
        if job.waiting:
            if owner not in self._flows:
                self._flows[owner] = _Flow(self._now)
                heapq.heappush(self._due, (self._now, next(self._arrivals), owner))
            self._flows[owner].jobs.append(job)
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
        while self._due:
            tag, arrival, owner = self._due[0]
            flow = self._flows[owner]
            while flow.jobs and not flow.jobs[0].order:
                flow.jobs.popleft()
            if not flow.jobs:
                heapq.heappop(self._due)
                del self._flows[owner]
                continue
            job = flow.jobs[0]
            length = job.lengths[job.order[0]]
            if length > room and taken:
                break
            taken.setdefault(job, []).append(job.order.popleft())
            room -= length
            self._backlog_tokens -= length
            self._now = tag
            flow.tag = tag + length
            heapq.heapreplace(self._due, (flow.tag, arrival, owner))
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
            job.waiting -= len(pairs)
            if not job.waiting:
                done.append(job)
        return done
