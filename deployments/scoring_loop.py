"""Runs one forward pass after another: each batch is taken from the queue when the last one is done.

Knows asyncio, but nothing of Ray: the scorer deployment is a shell around it.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from reranker.engine.device_thread import device_thread
from reranker.engine.isolation import OUT_OF_MEMORY, score_isolating
from reranker.errors import DeadlineExceeded, NonFiniteLogit, RerankerError, Unavailable, UnscorableDocument
from reranker.pairs import DevicePass, EncodedPairs, FloatArray, IntArray, ShardWork
from reranker.scheduling.queue import Batch, Job, TokenBudgetQueue
from reranker.scheduling.throughput import Throughput
from reranker.types import RequestContext

STALL_TIMEOUT_S = 60.0
_STALL_FACTOR = 10.0


class LoopStopped(RuntimeError):
    """Nothing more will be scored: the loop has died, or a forward pass does not end."""


@dataclass(slots=True)
class _Caller:
    """Who waits for a job. work: what its batches took so far, None before the first. passes: None if untraced."""

    future: "asyncio.Future[None]"
    queued_at: float
    passes: list[DevicePass] | None
    work: ShardWork | None = None


class ScoringLoop:
    """Scores the pairs of many callers, one forward pass at a time, in a thread of its own.

    score: a blocking function, pairs -> logits (pairs,). device: the one thread it runs in, by default a new one.
    stall_timeout_s: a pass counts as stalled after this time, and at least ten times what it should take.
    pass_tokens: what pairs of these lengths take of max_batch_tokens.
    Not thread-safe: call it from the event loop only.
    """

    def __init__(
        self,
        score: Callable[[EncodedPairs], FloatArray],
        max_batch_tokens: int,
        device: Executor | None = None,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        pass_tokens: Callable[[IntArray], IntArray] = lambda lengths: lengths,
    ) -> None:
        self._score = score
        self._stall_timeout_s = stall_timeout_s
        self._max_batch_tokens = max_batch_tokens
        self._queue = TokenBudgetQueue(max_batch_tokens, pass_tokens)
        self._callers: dict[Job, _Caller] = {}
        self._job_queued = asyncio.Event()
        self._device = device or device_thread()
        self._task: asyncio.Task[None] | None = None
        self._on_device_tokens = 0
        self._on_device_since = 0.0
        self.throughput = Throughput(max_batch_tokens)
        self.arrived_tokens = 0  # a counter; includes tokens that gateways refused

    @property
    def backlog_tokens(self) -> int:
        """Tokens queued or on the device."""
        return self._queue.backlog_tokens + self._on_device_tokens

    async def score(self, context: RequestContext, pairs: EncodedPairs) -> FloatArray:
        """See `score_and_account`."""
        return (await self.score_and_account(context, pairs))[0]

    async def score_and_account(
        self, context: RequestContext, pairs: EncodedPairs, passes: list[DevicePass] | None = None
    ) -> tuple[FloatArray, ShardWork]:
        """Logits of the pairs, in their order. Pairs not yet in a batch are dropped if the caller is cancelled.

        They are dropped after the context's timeout too: raises DeadlineExceeded or, for a partial context, returns
        NaN for missing logits. Raises, with the pair's index, NonFiniteLogit if the model gives NaN or infinity, and
        UnscorableDocument if it fails on the pair; Unavailable if the device has no memory for a single pair;
        LoopStopped; and torch.AcceleratorError. passes: each batch with some of the pairs is appended to it.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._fail_all)
        self.check()
        if context.timeout_s <= 0 and not context.partial:
            raise DeadlineExceeded(0)
        job = self._queue.put(context, pairs)
        if not job.unscored:
            return job.logits, ShardWork()
        self.arrived_tokens += sum(job.lengths) + context.refused_tokens
        caller = _Caller(asyncio.get_running_loop().create_future(), time.monotonic(), passes)
        self._callers[job] = caller
        self._job_queued.set()
        try:
            async with asyncio.timeout(context.timeout_s if context.timeout_s < 1e6 else None):
                await caller.future
        except TimeoutError:
            if not context.partial:
                raise DeadlineExceeded(0) from None
        finally:
            del self._callers[job]
            self._queue.cancel(job)
        # A copy: of a partial answer, pairs may still be on the device, whose logits are written later.
        logits = job.logits.copy() if job.unscored else job.logits
        return logits, caller.work or ShardWork(queue_wait_s=time.monotonic() - caller.queued_at)

    def check(self) -> None:
        """Raises LoopStopped."""
        if self._task is not None and self._task.done():
            raise LoopStopped("the scoring loop has ended") from (
                None if self._task.cancelled() else self._task.exception()
            )
        if not self._on_device_tokens:
            return
        taken_s = time.monotonic() - self._on_device_since
        tokens_per_s = self.throughput.tokens_per_s or self._on_device_tokens
        if taken_s > max(self._stall_timeout_s, _STALL_FACTOR * self._on_device_tokens / tokens_per_s):
            raise LoopStopped(f"a forward pass of {self._on_device_tokens} tokens has taken {taken_s:.0f} s")

    async def _run(self) -> None:
        while True:
            batch = self._queue.next_batch()
            if batch is None:
                self._job_queued.clear()
                await self._job_queued.wait()
                continue
            try:
                logits, failures = await self._forward(batch)
            except Exception as error:  # fail this batch's callers only
                for job, _ in batch.parts:
                    self._fail(job, error)
                continue
            finished = self._queue.complete(batch, logits)
            position = 0
            for job, pairs in batch.parts:
                for pair in pairs:
                    if failure := failures.get(position):
                        self._fail(job, _blame(int(pair), failure))
                    position += 1
                finite = np.isfinite(job.logits[pairs])
                if not finite.all():
                    self._fail(job, NonFiniteLogit(int(pairs[np.argmin(finite)])))
            for job in finished:
                if future := self._pending(job):
                    future.set_result(None)

    async def _forward(self, batch: Batch) -> tuple[FloatArray, dict[int, Exception]]:
        """Logits (pairs,), and the errors of pairs that cannot be scored, by position in the batch."""
        self._on_device_tokens = int(batch.pairs.lengths.sum())
        self._on_device_since = time.monotonic()
        try:
            scored = await asyncio.get_running_loop().run_in_executor(
                self._device, score_isolating, self._score, batch.pairs
            )
            if not scored[1]:
                self.throughput.observe(self._on_device_tokens, time.monotonic() - self._on_device_since)
            return scored
        finally:
            self._account(batch)
            self._on_device_tokens = 0

    def _account(self, batch: Batch) -> None:
        """Add what a batch took to the work of those who wait for its jobs."""
        taken_s = time.monotonic() - self._on_device_since
        fill = sum(job.costs[pair] for job, pairs in batch.parts for pair in pairs) / self._max_batch_tokens
        for job, pairs in batch.parts:
            if caller := self._callers.get(job):
                tokens = sum(job.lengths[pair] for pair in pairs)
                work = ShardWork(device_s=taken_s * tokens / max(1, self._on_device_tokens), batch_fill=fill)
                first = ShardWork(queue_wait_s=self._on_device_since - caller.queued_at)
                caller.work = (caller.work or first) + work
                if caller.passes is not None:
                    batch_tokens = self._on_device_tokens
                    caller.passes.append(
                        DevicePass(self._on_device_since, taken_s, tokens, len(pairs), batch_tokens, fill)
                    )

    def _fail(self, job: Job, error: Exception) -> None:
        self._queue.cancel(job)
        if future := self._pending(job):
            future.set_exception(error)

    def _fail_all(self, task: "asyncio.Task[None]") -> None:
        """The loop has ended: fail everyone who waits for it."""
        for job in list(self._callers):
            if future := self._pending(job):
                future.set_exception(LoopStopped("the scoring loop has ended"))

    def _pending(self, job: Job) -> "asyncio.Future[None] | None":
        """The caller's future, None if the caller has left."""
        caller = self._callers.get(job)
        return None if caller is None or caller.future.done() else caller.future


def _blame(pair: int, error: Exception) -> RerankerError:
    if isinstance(error, OUT_OF_MEMORY):
        return Unavailable("the device has no memory left for a single pair")
    reason = " ".join(str(error).split())[:200]
    return UnscorableDocument(pair, f"the model fails with {type(error).__name__}: {reason}")
