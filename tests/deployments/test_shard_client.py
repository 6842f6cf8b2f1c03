"""Retries of one shard, on fake handles."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from deployments.settings import ShardSettings
from deployments.shard_client import ShardClient
from reranker.errors import NonFiniteLogit, Overloaded, PairTooLong, Unavailable, UnscorableDocument
from reranker.scheduling.retry_budget import RetryBudget
from reranker.types import PairOptions, Passage, RequestContext
from tests.deployments.handles import FakeHandle, FakeResponse, FakeScorer, FakeTokenizer, Hang

PASSAGES = [Passage("1"), Passage("3"), Passage("2")]
LOST = ActorDiedError()
REQUEST = RequestContext("request")


class Shard:
    """A ShardClient over fakes, and the shard to score."""

    def __init__(
        self,
        *faults: Exception,
        tokenizer_faults: tuple[Exception, ...] = (),
        empty_budget: bool = False,
        encode_s: float = 0.0,
        passage_s: float = 0.0,
        deadly: str | None = None,
        **settings: Any,
    ) -> None:
        budget = RetryBudget()
        while empty_budget and budget.spend():
            pass
        self.tokenizer = FakeHandle("Tokenizer", FakeTokenizer(*tokenizer_faults, encode_s=encode_s))
        self._replica = FakeScorer(*faults, passage_s=passage_s, deadly=deadly)
        self.scorer = FakeHandle("Scorer", self._replica)
        self._client = ShardClient(
            cast(DeploymentHandle[Any], self.tokenizer),
            cast(DeploymentHandle[Any], self.scorer),
            ShardSettings(**settings),
            budget,
            retry_pause_s=0.0,
        )

    async def score(
        self,
        attempt_timeout_s: float = 60.0,
        context: RequestContext = REQUEST,
        passages: Sequence[Passage] = PASSAGES,
    ) -> list[float]:
        answer = await self._client.score("query", passages, PairOptions(), context, attempt_timeout_s)
        return cast(list[float], answer.scores.logits.tolist())

    @property
    def lost(self) -> int:
        """Replicas that the deadly passage has ended."""
        return self._replica.lost

    @property
    def attempts(self) -> int:
        return len(self.scorer.calls)


def test_fake_response_has_only_methods_of_the_real_one() -> None:
    methods = {name for name in vars(FakeResponse) if not name.startswith("_")} | {"__await__"}
    assert methods <= set(dir(DeploymentResponse))


async def test_each_attempt_is_told_the_time_left_and_refused_tokens_only_once() -> None:
    shard = Shard(LOST)
    context = RequestContext("request", timeout_s=30.0, refused_tokens=700)
    await shard.score(context=context)
    told = [call.args[-1] for call in shard.scorer.calls]
    assert [attempt.refused_tokens for attempt in told] == [700, 0]
    assert 30.0 >= told[0].timeout_s > told[1].timeout_s > 0


async def test_time_spent_tokenizing_counts_towards_the_timeout() -> None:
    """The scorer answers a partial request in time although the tokenizer took nearly all of it."""
    shard = Shard(direct_chars=0, encode_s=29.9, passage_s=1.0)
    answer = await shard.score(context=RequestContext("request", timeout_s=30.0, partial=True))
    assert np.isnan(answer).all()


async def test_small_shard_goes_directly_to_the_scorer() -> None:
    shard = Shard(direct_chars=9)  # the query and its passages have 8 characters
    assert await shard.score() == [1, 3, 2]
    assert [call.method for call in shard.scorer.calls] == ["score_texts"]
    assert shard.tokenizer.calls == []


async def test_large_shard_goes_through_the_tokenizer_by_reference() -> None:
    shard = Shard(direct_chars=8)
    assert await shard.score() == [1, 3, 2]
    (encode,), (score,) = shard.tokenizer.calls, shard.scorer.calls
    assert (encode.method, score.method) == ("encode", "score")
    assert score.args[0] is encode.response


@pytest.mark.parametrize("error", [LOST, WorkerCrashedError(), OutOfMemoryError("node 1")], ids=type)
async def test_shard_of_a_lost_scorer_is_sent_again(error: Exception) -> None:
    shard = Shard(error)
    assert await shard.score() == [1, 3, 2]
    assert shard.attempts == 2


async def test_shard_of_a_lost_tokenizer_is_sent_again() -> None:
    shard = Shard(tokenizer_faults=(LOST,), direct_chars=0)
    assert await shard.score() == [1, 3, 2]
    assert shard.attempts == 2


async def test_shard_fails_when_every_call_loses_a_replica() -> None:
    shard = Shard(*[LOST] * 20, max_retries=3)
    with pytest.raises(Unavailable, match="again and again"):
        await shard.score()
    assert shard.attempts == 2 + len(PASSAGES) + 1  # whole, one by one, and a harmless control


@pytest.mark.parametrize("killer", [0, 1, 2])
async def test_passage_that_ends_its_replicas_is_refused_by_name_after_three(killer: int) -> None:
    shard = Shard(deadly=PASSAGES[killer].text)
    with pytest.raises(UnscorableDocument, match=f"document {killer} .*replicas that score it exit"):
        await shard.score()
    assert shard.lost == 3


async def test_single_passage_that_ends_its_replicas_is_told_from_an_outage() -> None:
    shard = Shard(deadly="3")
    with pytest.raises(UnscorableDocument, match="document 0"):
        await shard.score(passages=[Passage("3")])
    assert shard.lost == 3


async def test_shard_that_loses_two_replicas_by_chance_is_scored_one_by_one() -> None:
    shard = Shard(LOST, LOST)
    assert await shard.score() == [1, 3, 2]
    assert shard.attempts == 2 + len(PASSAGES)


async def test_bad_document_found_one_by_one_keeps_its_position() -> None:
    shard = Shard(LOST, LOST, *[NonFiniteLogit(0)] * 9)
    with pytest.raises(NonFiniteLogit, match="document 0"):
        await shard.score()
    shard = Shard(LOST, LOST)
    with pytest.raises(NonFiniteLogit, match="document 1"):
        await shard.score(passages=[Passage("1"), Passage("nan")])


@pytest.mark.parametrize("error", [RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), Unavailable("no memory")])
async def test_unexpected_failure_is_retried_once(error: Exception) -> None:
    assert await Shard(error).score() == [1, 3, 2]
    shard = Shard(*[error] * 9)
    with pytest.raises(Unavailable):
        await shard.score()
    assert shard.attempts == 2


async def test_shard_fails_when_the_retry_budget_is_exhausted() -> None:
    shard = Shard(LOST, empty_budget=True)
    with pytest.raises(Unavailable, match="faster than"):
        await shard.score()
    assert shard.attempts == 1


async def test_non_finite_logit_is_retried() -> None:
    shard = Shard(NonFiniteLogit(1))
    assert await shard.score() == [1, 3, 2]


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (3, 2)])
async def test_non_finite_logit_is_retried_only_once(max_retries: int, attempts: int) -> None:
    shard = Shard(*[NonFiniteLogit(1)] * 4, max_retries=max_retries)
    with pytest.raises(NonFiniteLogit) as caught:
        await shard.score()
    assert caught.value.index == 1
    assert shard.attempts == attempts


@pytest.mark.parametrize(("sent", "expected"), [(7.5, 7.5), (None, 1.0)])
async def test_back_pressure_becomes_overloaded_with_its_retry_after(sent: float | None, expected: float) -> None:
    shard = Shard(BackPressureError(9, 8, retry_after_s=sent))
    with pytest.raises(Overloaded) as caught:
        await shard.score()
    assert caught.value.retry_after_s == expected
    assert shard.attempts == 1


async def test_reranker_error_of_a_replica_is_raised_unwrapped_without_retry() -> None:
    shard = Shard(PairTooLong(2, 228))
    with pytest.raises(PairTooLong) as caught:
        await shard.score()
    assert type(caught.value) is PairTooLong
    assert caught.value.args == (2, 228)
    assert shard.attempts == 1


async def test_unknown_exception_is_retried_once_and_logged_without_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shard = Shard(*[ZeroDivisionError("secret")] * 2)
    with caplog.at_level(logging.ERROR, "ray.serve"), pytest.raises(Unavailable, match=r"failed: ZeroDivisionError$"):
        await shard.score()
    assert shard.attempts == 2
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


async def test_hanging_attempt_is_cancelled_and_sent_again() -> None:
    shard = Shard(Hang())
    assert await shard.score(attempt_timeout_s=0.02) == [1, 3, 2]
    await asyncio.sleep(0)
    assert [call.response.cancelled() for call in shard.scorer.calls] == [True, False]


async def test_hanging_attempt_is_awaited_when_the_retry_budget_is_exhausted() -> None:
    hang = Hang()
    shard = Shard(hang, empty_budget=True)
    asyncio.get_running_loop().call_later(0.05, hang.end)
    assert await shard.score(attempt_timeout_s=0.01) == [1, 3, 2]
    assert shard.attempts == 1


async def test_last_attempt_has_no_timeout() -> None:
    hang = Hang()
    shard = Shard(hang, max_retries=0)
    asyncio.get_running_loop().call_later(0.05, hang.end)
    assert await shard.score(attempt_timeout_s=0.01) == [1, 3, 2]
    assert shard.attempts == 1


@pytest.mark.parametrize("direct_chars", [0, 100])
async def test_cancelling_a_shard_cancels_its_calls(direct_chars: int) -> None:
    shard = Shard(Hang(), direct_chars=direct_chars)
    task = asyncio.create_task(shard.score())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    calls = shard.tokenizer.calls + shard.scorer.calls
    assert len(calls) == (1 if direct_chars else 2)
    assert all(call.response.cancelled() for call in calls)
