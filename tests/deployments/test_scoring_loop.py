"""The scoring loop: callers get their own logits, errors stay with their batch, dropped pairs are not scored."""

import asyncio
import math
import re
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from deployments.scoring_loop import ScoringLoop
from reranker.errors import DeadlineExceeded, NonFiniteLogit, Unavailable, UnscorableDocument
from reranker.pairs import EncodedPairs, FloatArray, ShardWork, offsets
from reranker.types import RequestContext


def pairs_of(*values: int) -> EncodedPairs:
    """Pairs of two tokens; the second one is the logit that `last_token` gives."""
    count = len(values)
    return EncodedPairs(
        prefix_ids=np.array([7], dtype=np.int32),
        prefix_offsets=offsets(np.array([1])),
        prefix_of=np.zeros(count, dtype=np.int32),
        passage_ids=np.array(values, dtype=np.int32),
        passage_offsets=offsets(np.ones(count, dtype=np.int64)),
        candidate_of=np.arange(count, dtype=np.int32),
        truncated=np.zeros(count, dtype=bool),
    )


def last_token(pairs: EncodedPairs) -> FloatArray:
    return pairs.passage_ids.astype(np.float32)


async def test_every_caller_gets_its_own_logits_in_order() -> None:
    loop = ScoringLoop(last_token, max_batch_tokens=6)
    values_of = {f"request {n}": list(range(n, n + 10)) for n in (0, 100, 200)}

    answers = await asyncio.gather(
        *(loop.score(RequestContext(owner), pairs_of(*values)) for owner, values in values_of.items())
    )

    assert [answer.tolist() for answer in answers] == list(values_of.values())


async def test_job_without_pairs_is_answered_at_once() -> None:
    assert (await ScoringLoop(last_token, 6).score(RequestContext("request"), pairs_of())).tolist() == []


@pytest.mark.parametrize("max_batch_tokens", [2, 100])
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (ValueError("two <eos>"), UnscorableDocument, "document 0 .* ValueError: two <eos>"),
        (IndexError("token"), UnscorableDocument, "document 0"),
        (MemoryError("out of memory"), Unavailable, "no memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), Unavailable, "no memory"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_exception_fails_only_the_caller_of_the_pair_that_raises_it(
    max_batch_tokens: int, error: Exception, expected: type[Exception], message: str
) -> None:
    """Also where the pairs of other callers are in the same batch."""

    def faulty(pairs: EncodedPairs) -> FloatArray:
        if 13 in pairs.passage_ids:
            raise error
        return last_token(pairs)

    loop = ScoringLoop(faulty, max_batch_tokens)
    bad, good = await asyncio.gather(
        loop.score(RequestContext("a"), pairs_of(13, 1)),
        loop.score(RequestContext("b"), pairs_of(2, 3)),
        return_exceptions=True,
    )

    assert isinstance(bad, expected)
    assert re.search(message, str(bad))
    assert isinstance(good, np.ndarray)
    assert good.tolist() == [2, 3]
    loop.check()


async def test_cancelled_caller_has_its_unstarted_pairs_dropped() -> None:
    scored: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def slow(pairs: EncodedPairs) -> FloatArray:
        started.set()
        assert go_on.wait(10)
        scored.extend(pairs.passage_ids.tolist())
        return last_token(pairs)

    loop = ScoringLoop(slow, max_batch_tokens=2)
    cancelled = asyncio.create_task(loop.score(RequestContext("cancelled"), pairs_of(1, 2, 3)))
    await asyncio.to_thread(started.wait, 10)  # its first pair is on the device
    cancelled.cancel()
    other = asyncio.create_task(loop.score(RequestContext("other"), pairs_of(9)))
    await asyncio.sleep(0)
    go_on.set()

    assert (await other).tolist() == [9]
    assert scored == [1, 9]


async def test_dead_loop_fails_its_callers_and_the_health_check() -> None:
    def wrong(pairs: EncodedPairs) -> FloatArray:
        return np.zeros((len(pairs), 2), dtype=np.float32)  # a shape that the queue cannot split

    loop = ScoringLoop(wrong, max_batch_tokens=2)
    loop.check()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="has ended"):
            await loop.score(RequestContext("a"), pairs_of(1, 2, 3))
    with pytest.raises(RuntimeError, match="has ended"):
        loop.check()


class Gate:
    """Scores one batch for each release of `open`. scored: last tokens of the pairs scored so far."""

    def __init__(self) -> None:
        self.scored: list[int] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def score(self, pairs: EncodedPairs) -> FloatArray:
        self.entered.release()
        assert self.open.acquire(timeout=10)
        self.scored.extend(pairs.passage_ids.tolist())
        return last_token(pairs)

    async def pass_one(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)
        self.open.release()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("condition not met within 10 s")


async def test_job_past_its_deadline_is_dropped_before_scoring() -> None:
    gate = Gate()
    loop = ScoringLoop(gate.score, max_batch_tokens=2)
    late = asyncio.create_task(loop.score(RequestContext("late", timeout_s=0.1), pairs_of(1, 2, 3)))
    with pytest.raises(DeadlineExceeded):
        await late
    assert loop.backlog_tokens == 2  # the pair on the device cannot be dropped
    other = asyncio.create_task(loop.score(RequestContext("other"), pairs_of(9)))
    await gate.pass_one()
    await gate.pass_one()
    assert (await other).tolist() == [9]
    assert gate.scored == [1, 9]


async def test_job_that_arrives_past_its_deadline_is_not_queued() -> None:
    loop = ScoringLoop(last_token, max_batch_tokens=2)
    with pytest.raises(DeadlineExceeded):
        await loop.score(RequestContext("late", timeout_s=-1), pairs_of(1))
    assert loop.arrived_tokens == 0


async def test_partial_answer_has_nan_for_pairs_not_scored_by_the_deadline() -> None:
    gate = Gate()
    loop = ScoringLoop(gate.score, max_batch_tokens=2)
    context = RequestContext("partial", timeout_s=0.5, partial=True)
    answer = asyncio.create_task(loop.score(context, pairs_of(1, 2, 3)))
    await gate.pass_one()
    logits = await answer
    assert logits[0] == 1
    assert all(math.isnan(logit) for logit in logits[1:])
    gate.open.release(2)  # the pair that was on the device at the deadline is scored after the answer was given
    assert (await loop.score(RequestContext("next"), pairs_of(4))).tolist() == [4]
    assert gate.scored == [1, 2, 4]
    assert all(math.isnan(logit) for logit in logits[1:])


async def test_non_finite_logit_fails_only_its_own_request() -> None:
    def broken_at_13(pairs: EncodedPairs) -> FloatArray:
        return np.where(pairs.passage_ids == 13, np.nan, last_token(pairs)).astype(np.float32)

    loop = ScoringLoop(broken_at_13, max_batch_tokens=100)
    bad, good = await asyncio.gather(
        loop.score(RequestContext("a"), pairs_of(5, 13, 6)),
        loop.score(RequestContext("b"), pairs_of(2, 3)),
        return_exceptions=True,
    )
    assert isinstance(bad, NonFiniteLogit)
    assert bad.index == 1
    assert isinstance(good, np.ndarray)
    assert good.tolist() == [2, 3]


async def test_stalled_forward_pass_fails_the_health_check() -> None:
    gate = Gate()
    loop = ScoringLoop(gate.score, max_batch_tokens=2, stall_timeout_s=0.05)
    loop.throughput.observe(2, 0.001)
    hung = asyncio.create_task(loop.score(RequestContext("hung"), pairs_of(1)))
    await until(lambda: loop.backlog_tokens == 2)
    loop.check()
    await asyncio.sleep(0.1)
    with pytest.raises(RuntimeError, match="a forward pass of 2 tokens has taken"):
        loop.check()
    await gate.pass_one()
    await hung
    loop.check()


async def test_backlog_counts_tokens_until_they_are_scored() -> None:
    gate = Gate()
    loop = ScoringLoop(gate.score, max_batch_tokens=2)
    task = asyncio.create_task(loop.score(RequestContext("a", refused_tokens=4), pairs_of(1, 2, 3)))
    await until(lambda: loop.backlog_tokens == 6)
    await gate.pass_one()
    await until(lambda: loop.backlog_tokens == 4)
    for _ in range(2):
        await gate.pass_one()
    await task
    assert (loop.backlog_tokens, loop.arrived_tokens) == (0, 6 + 4)
    assert loop.throughput.tokens_per_s > 0


async def test_work_of_a_job_is_its_share_of_its_batches() -> None:
    loop = ScoringLoop(last_token, max_batch_tokens=8)
    (_, three), (_, one), (_, none) = await asyncio.gather(
        loop.score_and_account(RequestContext("a"), pairs_of(1, 2, 3)),
        loop.score_and_account(RequestContext("b"), pairs_of(4)),
        loop.score_and_account(RequestContext("c"), pairs_of()),
    )
    assert three.batch_fill == pytest.approx(1.0)
    assert three.device_s == pytest.approx(3 * one.device_s)
    assert one.queue_wait_s > 0
    assert none == ShardWork()


async def test_work_counts_batches_of_a_partial_answer_and_of_no_other_job() -> None:
    loop = ScoringLoop(last_token, max_batch_tokens=4)
    _, work = await loop.score_and_account(RequestContext("a"), pairs_of(1, 2, 3))
    assert 0.5 < work.batch_fill < 1.0  # one batch is full and one half full
    late = RequestContext("b", timeout_s=0.0, partial=True)
    _, nothing = await loop.score_and_account(late, pairs_of(1))
    assert nothing.device_s == nothing.batch_fill == 0
