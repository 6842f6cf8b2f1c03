"""A request's way through the gateway, on fake handles: shards, partial answers, deadlines and admission."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from ray.serve.handle import DeploymentHandle

from deployments.capacity import Capacity
from deployments.gateway import Gateway
from deployments.settings import AppSettings
from reranker.errors import (
    DeadlineExceeded,
    EmptyField,
    InvalidField,
    NonFiniteLogit,
    NoScorerYet,
    Overloaded,
    RateLimited,
    TooManyCandidates,
    Unavailable,
    UnknownModel,
    UnscorableDocument,
)
from reranker.types import Candidate, Passage, RerankOutcome, RerankRequest
from tests.deployments import fleets
from tests.deployments.handles import TOKENS_PER_PASSAGE, FakeHandle, FakeScorer, FakeTokenizer, Hang

ONE_PASSAGE_PER_SHARD = {"max_chars": 1}
NO_QUEUE = {"queue_s": 0.001}  # one token at the fake scorer's speed: while any work is queued, no more is let in


def make_gateway(scorer: FakeScorer, status: Any = None, **settings: Any) -> Gateway:
    handle = cast(DeploymentHandle[Any], FakeHandle("Scorer", scorer))
    tokenizer = cast(DeploymentHandle[Any], FakeHandle("Tokenizer", FakeTokenizer()))
    capacity = Capacity(handle, fleets.context, lambda: status or fleets.status())
    return Gateway(AppSettings.model_validate(settings), tokenizer, handle, capacity)


def request(texts: Sequence[str] = ("1", "3", "2"), **fields: Any) -> RerankRequest:
    candidates = tuple(Candidate(Passage(text), f"id {n}") for n, text in enumerate(texts))
    return RerankRequest("query", candidates, **fields)


def order(outcome: RerankOutcome) -> list[int]:
    return [hit.index for hit in outcome.ranking]


@pytest.mark.parametrize("shards", [{}, ONE_PASSAGE_PER_SHARD, ONE_PASSAGE_PER_SHARD | {"direct_chars": 0}])
async def test_candidates_are_ranked_whatever_their_shards(shards: dict[str, int]) -> None:
    gateway = make_gateway(FakeScorer(), shards=shards)
    outcome = await gateway.rerank(request(["1", "4", "2", "3"], top_n=3))
    assert [(hit.index, hit.id, hit.logit) for hit in outcome.ranking] == [
        (1, "id 1", 4.0),
        (3, "id 3", 3.0),
        (2, "id 2", 2.0),
    ]
    assert (outcome.total_tokens, outcome.unscored) == (4 * TOKENS_PER_PASSAGE, 0)


async def test_equal_passages_are_scored_once_and_ranked_each() -> None:
    scorer = FakeScorer()
    outcome = await make_gateway(scorer).rerank(request(["1", "2", "1", "2"]))
    assert scorer.scored == ["1", "2"]
    assert order(outcome) == [1, 3, 0, 2]


async def test_pairs_with_queries_of_their_own_are_one_request_and_equal_ones_are_scored_once() -> None:
    scorer = FakeScorer()
    gateway = make_gateway(scorer, admission=NO_QUEUE)
    candidates = tuple(Candidate(Passage(text)) for text in ("1", "3", "2", "1", "1"))
    outcome = await gateway.rerank(RerankRequest(("a", "b", "a", "b", "a"), candidates))
    assert [hit.logit for hit in sorted(outcome.ranking, key=lambda hit: hit.index)] == [1, 3, 2, 1, 1]
    assert scorer.scored == ["1", "2", "3", "1"]
    assert len(scorer.contexts) == 1
    assert outcome.total_tokens == 5 * TOKENS_PER_PASSAGE


async def test_pair_that_ends_its_replicas_is_found_among_pairs_with_queries_of_their_own() -> None:
    candidates = tuple(Candidate(Passage(text)) for text in ("1", "2", "3"))
    gateway = make_gateway(FakeScorer(deadly="2"))
    with pytest.raises(UnscorableDocument) as caught:
        await gateway.rerank(RerankRequest(("a", "b", "c"), candidates))
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"texts": []}, EmptyField),
        ({"max_pair_tokens": 229}, InvalidField),
        ({"texts": ["1"] * 6}, TooManyCandidates),
        ({"model": "other"}, UnknownModel),
    ],
)
async def test_request_outside_the_limits_is_refused_before_any_work(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    scorer = FakeScorer()
    gateway = make_gateway(scorer, strict_model=True, limits={"max_documents": 5})
    with pytest.raises(error):
        await gateway.rerank(request(**fields))
    assert scorer.contexts == []


async def test_request_fails_at_once_when_no_scorer_will_ever_start() -> None:
    scorer = FakeScorer()
    status = fleets.status(0, scorer_status="DEPLOY_FAILED", message="FidelityError: golden pair 3 differs")
    with pytest.raises(Unavailable, match="golden pair 3"):
        await make_gateway(scorer, status).rerank(request())
    assert scorer.contexts == []


async def test_request_that_finds_no_scorer_waits_or_is_refused_as_the_setting_says() -> None:
    scorer, none = FakeScorer(), fleets.status(0)
    assert order(await make_gateway(scorer, none).rerank(request())) == [1, 2, 0]
    with pytest.raises(NoScorerYet, match="retry in 60 s"):
        await make_gateway(FakeScorer(), none, admission={"without_scorer": "refuse"}).rerank(request())
    assert await make_gateway(FakeScorer(), admission={"without_scorer": "refuse"}).rerank(request())


async def test_partial_answer_ranks_what_was_scored_by_the_deadline() -> None:
    gateway = make_gateway(FakeScorer(passage_s=0.02))
    started = time.monotonic()
    outcome = await gateway.rerank(request([str(n) for n in range(30)], timeout_ms=100, on_deadline="partial"))
    assert time.monotonic() - started < 0.4  # all passages would take 0.6 s
    scored = 30 - outcome.unscored
    assert 0 < scored < 30
    assert order(outcome) == [*reversed(range(scored)), *range(scored, 30)]
    assert [hit.scored for hit in outcome.ranking] == [True] * scored + [False] * outcome.unscored
    assert outcome.total_tokens == scored * TOKENS_PER_PASSAGE


async def test_partial_answer_leaves_out_the_shard_that_hangs() -> None:
    gateway = make_gateway(FakeScorer(Hang()), shards=ONE_PASSAGE_PER_SHARD)
    outcome = await gateway.rerank(request(timeout_ms=50, on_deadline="partial"))
    assert order(outcome) == [1, 2, 0]
    assert outcome.unscored == 1


async def test_partial_answer_may_have_no_score_at_all() -> None:
    gateway = make_gateway(FakeScorer(Hang()))
    outcome = await gateway.rerank(request(timeout_ms=50, on_deadline="partial"))
    assert order(outcome) == [0, 1, 2]
    assert outcome.unscored == 3


@pytest.mark.parametrize(
    "make_scorer", [lambda: FakeScorer(Hang()), lambda: FakeScorer(passage_s=0.04)], ids=["hangs", "is slow"]
)
async def test_deadline_error_names_the_timeout_of_the_request(make_scorer: Callable[[], FakeScorer]) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        await make_gateway(make_scorer()).rerank(request(timeout_ms=50))
    assert caught.value.timeout_ms == 50


async def test_timeout_of_a_request_is_capped_by_the_limit() -> None:
    gateway = make_gateway(FakeScorer(Hang()), limits={"timeout_ms": 40}, admission={"queue_s": 0.02})
    with pytest.raises(DeadlineExceeded) as caught:
        await gateway.rerank(request(timeout_ms=60_000))
    assert caught.value.timeout_ms == 40


@pytest.mark.parametrize(
    ("timeout_ms", "on_deadline", "margin_s"),
    [(10_000, "error", 0.0), (10_000, "partial", 0.5), (500, "partial", 0.05)],
)
async def test_scorer_deadline_leaves_a_partial_answer_its_response_margin(
    timeout_ms: int, on_deadline: Any, margin_s: float
) -> None:
    scorer = FakeScorer()
    await make_gateway(scorer).rerank(request(timeout_ms=timeout_ms, on_deadline=on_deadline))
    (context,) = scorer.contexts
    expected_s = timeout_ms / 1000 - margin_s
    assert expected_s - 1.0 < context.timeout_s <= expected_s
    assert context.partial == (on_deadline == "partial")


async def test_non_finite_logit_names_the_document_of_the_request() -> None:
    gateway = make_gateway(FakeScorer(), shards=ONE_PASSAGE_PER_SHARD | {"max_retries": 0})
    with pytest.raises(NonFiniteLogit) as caught:
        await gateway.rerank(request(["1", "1", "2", "nan", "nan"]))
    assert caught.value.index == 3


async def test_overloaded_is_reported_before_other_errors_of_the_shards() -> None:
    scorer = FakeScorer(Unavailable("a"), Overloaded(7.0), Unavailable("b"))
    with pytest.raises(Overloaded) as caught:
        await make_gateway(scorer, shards=ONE_PASSAGE_PER_SHARD).rerank(request())
    assert caught.value.retry_after_s == 7.0


async def test_hanging_shard_is_sent_again_after_three_times_the_queue_length() -> None:
    scorer = FakeScorer(Hang())
    started = time.monotonic()
    outcome = await make_gateway(scorer, admission={"queue_s": 0.02}).rerank(request())
    assert time.monotonic() - started >= 0.06
    assert len(scorer.contexts) == 2
    assert order(outcome) == [1, 2, 0]


async def is_refused(gateway: Gateway) -> bool:
    try:
        await gateway.rerank(request())
    except Overloaded:
        return True
    return False


async def start(gateway: Gateway, scorer: FakeScorer) -> asyncio.Task[RerankOutcome]:
    """A request that has been admitted and is with the scorer."""
    task = asyncio.create_task(gateway.rerank(request()))
    await scorer.called.wait()
    return task


async def test_admission_is_held_until_the_answer() -> None:
    scorer = FakeScorer(hang := Hang())
    gateway = make_gateway(scorer, admission=NO_QUEUE)
    task = await start(gateway, scorer)
    assert await is_refused(gateway)
    hang.end()
    await task
    assert not await is_refused(gateway)


@pytest.mark.parametrize("make_fault", [ZeroDivisionError, lambda: Overloaded(1.0), Hang], ids=["bug", "429", "504"])
@pytest.mark.parametrize("shards", [{}, ONE_PASSAGE_PER_SHARD], ids=["one shard", "three shards"])
async def test_admission_is_released_by_a_failure(
    make_fault: Callable[[], Exception], shards: dict[str, int]
) -> None:
    gateway = make_gateway(FakeScorer(make_fault()), admission=NO_QUEUE, shards=shards | {"max_retries": 0})
    with pytest.raises((Unavailable, Overloaded, DeadlineExceeded)):
        await gateway.rerank(request(timeout_ms=30))
    assert not await is_refused(gateway)


async def test_admission_is_released_by_a_partial_answer() -> None:
    gateway = make_gateway(FakeScorer(Hang()), admission=NO_QUEUE, shards={"max_retries": 0})
    await gateway.rerank(request(timeout_ms=30, on_deadline="partial"))
    assert not await is_refused(gateway)


async def test_admission_is_released_when_the_client_disconnects() -> None:
    scorer = FakeScorer(Hang())
    gateway = make_gateway(scorer, admission=NO_QUEUE)
    task = await start(gateway, scorer)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await is_refused(gateway)


async def test_refused_tokens_are_reported_once_with_the_next_shard() -> None:
    scorer = FakeScorer(hang := Hang())
    gateway = make_gateway(scorer, admission=NO_QUEUE)
    task = await start(gateway, scorer)
    assert await is_refused(gateway)
    hang.end()
    await task
    for _ in range(2):
        await gateway.rerank(request())
    first, second, third = [context.refused_tokens for context in scorer.contexts]
    assert first == third == 0
    assert second > 0


async def test_rate_of_a_client_is_charged_with_the_estimate_and_shared_among_gateways() -> None:
    scorer = FakeScorer()
    gateway = make_gateway(scorer, fleets.status(gateways=2))
    limited: dict[str, Any] = {"texts": ["0" * 9_000 + "1"], "client": "a", "tokens_per_minute": 1_000}
    for _ in range(2):
        await gateway.rerank(request(**limited))  # 228 tokens each, the most that a pair has
    with pytest.raises(RateLimited) as refused:  # each gateway allows 500
        await gateway.rerank(request(**limited))
    assert (refused.value.tokens, 0 < refused.value.retry_after_s <= 228 * 60 / 500) == (228, True)
    await gateway.rerank(request(**limited | {"client": "b"}))
    await gateway.rerank(request(**limited | {"tokens_per_minute": None}))
    assert len(scorer.scored) == 4
