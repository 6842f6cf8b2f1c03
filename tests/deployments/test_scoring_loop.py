"""The scoring loop: answers find their callers, faults stay with their batch, the left are not scored."""

import asyncio
import threading

import numpy as np
import pytest

from deployments.scoring_loop import ScoringLoop
from reranker.types import EncodedPairs, FloatArray, offsets


def pairs_of(*values: int) -> EncodedPairs:
    """Pairs of two tokens; the second one is the value that `score` below answers with."""
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
    asked = {f"request {n}": list(range(n, n + 10)) for n in (0, 100, 200)}

    answers = await asyncio.gather(*(loop.score(owner, pairs_of(*values)) for owner, values in asked.items()))

    assert [answer.tolist() for answer in answers] == list(asked.values())


async def test_no_pairs_are_answered_at_once() -> None:
    assert (await ScoringLoop(last_token, 6).score("request", pairs_of())).tolist() == []


async def test_a_fault_fails_its_own_batch_and_the_loop_lives() -> None:
    def faulty(pairs: EncodedPairs) -> FloatArray:
        if 13 in pairs.passage_ids:
            raise MemoryError("out of memory")
        return last_token(pairs)

    loop = ScoringLoop(faulty, max_batch_tokens=2)
    bad, good = await asyncio.gather(
        loop.score("a", pairs_of(13, 1)), loop.score("b", pairs_of(2, 3)), return_exceptions=True
    )

    assert isinstance(bad, MemoryError)
    assert isinstance(good, np.ndarray)
    assert good.tolist() == [2, 3]
    loop.check()


async def test_work_of_a_caller_who_left_is_not_scored() -> None:
    scored: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def slow(pairs: EncodedPairs) -> FloatArray:
        started.set()
        assert go_on.wait(10)
        scored.extend(pairs.passage_ids.tolist())
        return last_token(pairs)

    loop = ScoringLoop(slow, max_batch_tokens=2)
    leaver = asyncio.create_task(loop.score("leaver", pairs_of(1, 2, 3)))
    await asyncio.to_thread(started.wait, 10)  # its first pair is on the device
    leaver.cancel()
    stayer = asyncio.create_task(loop.score("stayer", pairs_of(9)))
    await asyncio.sleep(0)
    go_on.set()

    assert (await stayer).tolist() == [9]
    assert scored == [1, 9]


async def test_a_dead_loop_fails_its_callers_and_the_health_check() -> None:
    def wrong(pairs: EncodedPairs) -> FloatArray:
        return np.zeros((len(pairs), 2), dtype=np.float32)  # a shape the queue cannot hand out

    loop = ScoringLoop(wrong, max_batch_tokens=2)
    loop.check()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="has ended"):
            await loop.score("a", pairs_of(1, 2, 3))
    with pytest.raises(RuntimeError, match="has ended"):
        loop.check()
