"""Keeps the device busy: pulls the next batch from the queue only when the last one is done.

Knows asyncio, but nothing of Ray: the scorer deployment is a shell around it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from reranker.device_thread import device_thread
from reranker.scheduler import Job, TokenBudgetQueue
from reranker.types import EncodedPairs, FloatArray


class ScoringLoop:
    """Many callers, one forward pass at a time, in a thread of its own.

    score: a blocking function, pairs -> logits (pairs,); it runs in `device`, one thread, by default a new one.
    The loop itself must be called within the event loop's thread only.
    """

    def __init__(
        self, score: Callable[[EncodedPairs], FloatArray], max_batch_tokens: int, device: Executor | None = None
    ) -> None:
        self._score = score
        self._queue = TokenBudgetQueue(max_batch_tokens)
        self._waiting: dict[Job, asyncio.Future[FloatArray]] = {}
        self._work = asyncio.Event()
        self._device = device or device_thread()
        self._task: asyncio.Task[None] | None = None

    async def score(self, owner: str, pairs: EncodedPairs) -> FloatArray:
        """Logits of the pairs, in their order. Cancelling the caller drops what has not started yet."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._abandon)
        self.check()
        job = self._queue.put(owner, pairs)
        if not job.waiting:
            return job.logits
        self._waiting[job] = asyncio.get_running_loop().create_future()
        self._work.set()
        try:
            return await self._waiting[job]
        finally:
            del self._waiting[job]
            self._queue.cancel(job)

    def check(self) -> None:
        """Raises RuntimeError when the loop has died: nothing would ever be scored again."""
        if self._task is not None and self._task.done():
            raise RuntimeError("the scoring loop has ended") from (
                None if self._task.cancelled() else self._task.exception()
            )

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._queue.next_batch()
            if batch is None:
                self._work.clear()
                await self._work.wait()
                continue
            try:
                logits = await loop.run_in_executor(self._device, self._score, batch.pairs)
            except Exception as error:  # the batch's callers fail, the loop goes on
                for job, _ in batch.parts:
                    self._queue.cancel(job)
                    if future := self._pending(job):
                        future.set_exception(error)
                continue
            for job in self._queue.complete(batch, logits):
                if future := self._pending(job):
                    future.set_result(job.logits)

    def _abandon(self, task: "asyncio.Task[None]") -> None:
        """The loop has ended: nobody may wait for it."""
        for job in list(self._waiting):
            if future := self._pending(job):
                future.set_exception(RuntimeError("the scoring loop has ended"))

    def _pending(self, job: Job) -> "asyncio.Future[FloatArray] | None":
        """The caller's future, None where the caller has left."""
        future = self._waiting.get(job)
        return None if future is None or future.done() else future
