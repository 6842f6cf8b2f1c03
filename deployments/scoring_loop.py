"""Keeps the device busy: pulls the next batch from the queue only when the last one is done.

Knows asyncio, but nothing of Ray: the scorer deployment is a shell around it.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from reranker.engine.device_thread import device_thread
from reranker.errors import DeadlineExceeded, NonFiniteLogit
from reranker.pairs import EncodedPairs, FloatArray
from reranker.scheduling.queue import Batch, Job, TokenBudgetQueue
from reranker.scheduling.throughput import Throughput
from reranker.types import RequestContext

STALLED_TIMES = 10.0


class LoopStopped(RuntimeError):
    """Nothing will ever be scored again: the loop has died, or a pass does not end."""


class ScoringLoop:
    """Many callers, one forward pass at a time, in a thread of its own.

    score: a blocking function, pairs -> logits (pairs,); it runs in `device`, one thread, by default a new one.
    stalled_s: a pass that takes so long, and ten times what it should, will never end.
    The loop itself must be called within the event loop's thread only.
    """

    def __init__(
        self,
        score: Callable[[EncodedPairs], FloatArray],
        max_batch_tokens: int,
        device: Executor | None = None,
        stalled_s: float = 60.0,
    ) -> None:
        self._score = score
        self._stalled_s = stalled_s
        self._queue = TokenBudgetQueue(max_batch_tokens)
        self._waiting: dict[Job, asyncio.Future[None]] = {}
        self._work = asyncio.Event()
        self._device = device or device_thread()
        self._task: asyncio.Task[None] | None = None
        self._on_device_tokens = 0
        self._on_device_since = 0.0
        self.throughput = Throughput(max_batch_tokens)
        self.arrived_tokens = 0  # those that were refused before they could come among them

    @property
    def backlog_tokens(self) -> int:
        """Tokens that wait or are on the device."""
        return self._queue.backlog_tokens + self._on_device_tokens

    async def score(self, context: RequestContext, pairs: EncodedPairs) -> FloatArray:
        """Logits of the pairs, in their order. Cancelling the caller drops what has not started yet.

        At the context's deadline that is dropped as well: then raises DeadlineExceeded, or, for a partial context,
        returns NaN where the logit is missing. Raises NonFiniteLogit, with the pair's index, for a model that gave
        no number, LoopStopped, and what `score` raises.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._abandon)
        self.check()
        left_s = context.deadline_unix_s - time.time()
        if left_s <= 0 and not context.partial:
            raise DeadlineExceeded(0)
        job = self._queue.put(context, pairs)
        if not job.unscored:
            return job.logits
        self.arrived_tokens += sum(job.lengths) + context.refused_tokens
        self._waiting[job] = asyncio.get_running_loop().create_future()
        self._work.set()
        try:
            async with asyncio.timeout(left_s if left_s < 1e6 else None):
                await self._waiting[job]
        except TimeoutError:
            if not context.partial:
                raise DeadlineExceeded(0) from None
        finally:
            del self._waiting[job]
            self._queue.cancel(job)
        return job.logits

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
        if taken_s > max(self._stalled_s, STALLED_TIMES * self._on_device_tokens / tokens_per_s):
            raise LoopStopped(f"a forward pass of {self._on_device_tokens} tokens has taken {taken_s:.0f} s")

    async def _run(self) -> None:
        while True:
            batch = self._queue.next_batch()
            if batch is None:
                self._work.clear()
                await self._work.wait()
                continue
            try:
                logits = await self._forward(batch)
            except Exception as error:  # the batch's callers fail, the loop goes on
                for job, _ in batch.parts:
                    self._fail(job, error)
                continue
            finished = self._queue.complete(batch, logits)
            for job, pairs in batch.parts:
                finite = np.isfinite(job.logits[pairs])
                if not finite.all():
                    self._fail(job, NonFiniteLogit(int(pairs[np.argmin(finite)])))
            for job in finished:
                if future := self._pending(job):
                    future.set_result(None)

    async def _forward(self, batch: Batch) -> FloatArray:
        self._on_device_tokens = int(batch.pairs.lengths.sum())
        self._on_device_since = time.monotonic()
        try:
            logits = await asyncio.get_running_loop().run_in_executor(self._device, self._score, batch.pairs)
            self.throughput.observe(self._on_device_tokens, time.monotonic() - self._on_device_since)
            return logits
        finally:
            self._on_device_tokens = 0

    def _fail(self, job: Job, error: Exception) -> None:
        self._queue.cancel(job)
        if future := self._pending(job):
            future.set_exception(error)

    def _abandon(self, task: "asyncio.Task[None]") -> None:
        """The loop has ended: nobody may wait for it."""
        for job in list(self._waiting):
            if future := self._pending(job):
                future.set_exception(LoopStopped("the scoring loop has ended"))

    def _pending(self, job: Job) -> "asyncio.Future[None] | None":
        """The caller's future, None where the caller has left."""
        future = self._waiting.get(job)
        return None if future is None or future.done() else future
