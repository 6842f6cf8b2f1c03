"""Fakes of Serve's handles, and of the replicas behind them.

As in Serve: a call starts at once, a response passed as an argument is awaited before the method runs, what a replica
raises arrives wrapped in RayTaskError, and the loss of a replica arrives as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from reranker.errors import DeadlineExceeded, NonFiniteLogit
from reranker.pairs import CandidateScores, ShardScores
from reranker.types import ModelDescription, PairOptions, Passage, Query, RequestContext

TOKENS_PER_PASSAGE = 10
DESCRIPTION = ModelDescription("fake", None, "dear", 1, 228, False, "float32", "cpu", "verified: a fake", 1_000.0)


class FakeResponse:
    """Meets DeploymentResponse: whoever stops awaiting it does not cancel the call, `cancel` does."""

    def __init__(self, call: Coroutine[Any, Any, Any]) -> None:
        self._task = asyncio.create_task(call)
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())  # mark it as seen
        self._cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.shield(self._task).__await__()

    def cancel(self) -> None:
        self._cancelled = True
        self._task.cancel()

    def cancelled(self) -> bool:
        return self._cancelled


class Call(NamedTuple):
    method: str
    args: tuple[Any, ...]
    response: FakeResponse


class FakeHandle:
    """Meets DeploymentHandle: `handle.method.remote(*args)`. calls: all that were made, oldest first."""

    def __init__(self, deployment_name: str, replica: object) -> None:
        self.deployment_name = deployment_name
        self.calls: list[Call] = []
        self._replica = replica

    def __getattr__(self, method: str) -> _FakeMethod:
        return _FakeMethod(method, getattr(self._replica, method), self.calls)


class _FakeMethod:
    def __init__(self, name: str, method: Callable[..., Coroutine[Any, Any, Any]], calls: list[Call]) -> None:
        self._name, self._method, self._calls = name, method, calls

    def remote(self, *args: Any) -> FakeResponse:
        response = FakeResponse(self._run(args))
        self._calls.append(Call(self._name, args, response))
        return response

    async def _run(self, args: tuple[Any, ...]) -> Any:
        try:
            values = [await arg if isinstance(arg, FakeResponse) else arg for arg in args]
            return await self._method(*values)
        except (RayError, RayServeException):
            raise
        except Exception as error:
            raise RayTaskError(self._name, repr(error), error, ip="127.0.0.1").as_instanceof_cause() from None


class Hang(Exception):
    """In a list of faults: the call is not answered before `end` is called."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    def end(self) -> None:
        self._ended.set()

    async def wait(self) -> None:
        await self._ended.wait()


class FakeReplica:
    """faults: what each of the first shards meets, an error to raise or a Hang; later ones succeed."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = list(faults)

    async def meet_fault(self) -> None:
        fault = self._faults.pop(0) if self._faults else None
        if isinstance(fault, Hang):
            await fault.wait()
        elif fault:
            raise fault


class FakeShard(NamedTuple):
    """Meets EncodedShard."""

    pairs: Sequence[Passage]
    encode_s: float


class FakeTokenizer(FakeReplica):
    """The pairs of its encoded shards are the passages themselves. encode_s: the time it says that it took."""

    def __init__(self, *faults: Exception, encode_s: float = 0.0) -> None:
        super().__init__(*faults)
        self._encode_s = encode_s

    async def encode(
        self, query: Query, passages: Sequence[Passage], options: PairOptions, traceparent: str = ""
    ) -> FakeShard:
        await self.meet_fault()
        return FakeShard(passages, self._encode_s)


class FakeScorer(FakeReplica):
    """A passage's text is its logit. passage_s: time per passage; deadlines are kept as the scoring loop keeps them.

    contexts, scored: of all calls, in order. called: set once a call has reached it.
    """

    def __init__(
        self,
        *faults: Exception,
        passage_s: float = 0.0,
        describe_error: Exception | None = None,
        deadly: str | None = None,
    ) -> None:
        """describe_error: `describe` raises it, or waits. deadly: text that ends every replica that scores it."""
        super().__init__(*faults)
        self._passage_s, self._describe_error, self._deadly = passage_s, describe_error, deadly
        self.lost = 0
        self.called = asyncio.Event()
        self.contexts: list[RequestContext] = []
        self.scored: list[str] = []

    async def score_texts(
        self, query: Query, passages: Sequence[Passage], options: PairOptions, context: RequestContext
    ) -> ShardScores:
        return await self.score(FakeShard(passages, 0.0), context)

    async def score(self, shard: FakeShard, context: RequestContext) -> ShardScores:
        pairs = shard.pairs
        deadline = time.monotonic() + context.timeout_s - shard.encode_s
        self.called.set()
        self.contexts.append(context)
        await self.meet_fault()
        if self._deadly in [passage.text for passage in pairs]:
            self.lost += 1
            raise ActorDiedError()
        logits = np.full(len(pairs), np.nan, dtype=np.float32)
        for n, passage in enumerate(pairs):
            left_s = deadline - time.monotonic()
            await asyncio.sleep(min(self._passage_s, max(0.0, left_s)))
            if left_s < self._passage_s:
                if not context.partial:
                    raise DeadlineExceeded(0)
                break
            if passage.text == "nan":
                raise NonFiniteLogit(n)
            logits[n] = 0.0 if passage.text == "ready" else float(passage.text)
            self.scored.append(passage.text)
        tokens = np.where(np.isnan(logits), 0, TOKENS_PER_PASSAGE).astype(np.int32)
        return ShardScores(CandidateScores(logits, np.zeros(len(pairs), dtype=bool), tokens), 1_000.0)

    async def describe(self) -> ModelDescription:
        if isinstance(self._describe_error, Hang):
            await self._describe_error.wait()
        elif self._describe_error:
            raise self._describe_error
        return DESCRIPTION
