"""Overload, on a real graph whose scorer simulates a slow device."""

import asyncio
import math
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from ray import serve

from deployments.app import build_app
from deployments.settings import AppSettings

QUEUE_S = 2.0
TOKENS_PER_S = 2_000.0
WORD = "tide "


@pytest.fixture(scope="module")
def graph(cluster: str) -> Iterator[str]:
    settings = AppSettings.model_validate(
        {
            "device": "cpu",
            "engine": {"simulated_tokens_per_s": TOKENS_PER_S, "max_batch_tokens": 500},
            "admission": {"queue_s": QUEUE_S},
        }
    )
    serve.run(build_app(settings), name="calm", route_prefix="/calm")
    yield f"{cluster}/calm"
    serve.delete("calm")


def body(documents: int, **more: Any) -> dict[str, Any]:
    """About 100 tokens per document, all documents distinct."""
    mark = time.monotonic_ns()
    return {"query": "q", "documents": [f"{mark} {n} " + WORD * 80 for n in range(documents)]} | more


def client(graph: str, key: str = "key") -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200)
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=graph, timeout=60, limits=limits, headers=headers)


async def answered_soon(caller: httpx.AsyncClient) -> bool:
    """Whether a small request is answered within five seconds; it may get a 429 before that."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        answer = await caller.post("/v2/rerank", json=body(1))
        if answer.status_code == 200:
            return True
        assert answer.status_code == 429
        await asyncio.sleep(0.1)
    return False


async def test_overload_rejects_requests_at_once_and_answers_the_admitted_ones(graph: str) -> None:
    async with client(graph) as flood:
        await flood.post("/v2/rerank", json=body(4))  # calibrates the token estimate
        answers = await asyncio.gather(*(flood.post("/v2/rerank", json=body(4)) for _ in range(60)))
    accepted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(accepted) + len(refused) == len(answers), {answer.text for answer in answers}
    # One client may fill three quarters of a queue of two seconds, with 400 tokens per request.
    assert 4 <= len(accepted) <= 2 * 0.75 * QUEUE_S * TOKENS_PER_S / 400
    for answer in refused:
        assert int(answer.headers["retry-after"]) == max(1, math.ceil(int(answer.headers["retry-after-ms"]) / 1000))
        assert 0 < int(answer.headers["retry-after-ms"]) <= 2_000 * QUEUE_S
        assert "too much work is queued" in answer.json()["message"]


async def test_flooding_client_leaves_room_for_another_client(graph: str) -> None:
    async with client(graph, "flood") as flood, client(graph, "modest") as modest:
        flooding = [asyncio.create_task(flood.post("/v2/rerank", json=body(4))) for _ in range(60)]
        await asyncio.sleep(0.5)
        answer = await modest.post("/v2/rerank", json=body(2))
        still_waiting = sum(not task.done() for task in flooding)
        await asyncio.gather(*flooding)
    assert answer.status_code == 200
    assert still_waiting  # its fair share was served before the flood's backlog


async def test_partial_answer_ranks_scored_documents_above_unscored_ones(graph: str) -> None:
    async with client(graph) as caller:
        partial = body(120, timeout_ms=3_000, on_deadline="partial", verbose=True)
        answer = await caller.post("/v2/rerank", json=partial)
    assert answer.status_code == 200
    results = answer.json()["results"]
    unscored = int(answer.headers["x-rerank-unscored"])
    assert 0 < unscored < 120
    assert answer.json()["meta"]["warnings"] == [f"{unscored} documents were not scored in time"]
    assert [result.get("scored", True) for result in results] == [True] * (120 - unscored) + [False] * unscored
    last = [result["index"] for result in results[-unscored:]]
    assert last == sorted(last)
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)


async def test_work_of_disconnected_clients_is_dropped(graph: str) -> None:
    """Ten seconds of work are dropped: the next request does not wait for them."""
    async with client(graph) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            await impatient.post("/v2/rerank", json=body(200), timeout=1.0)
        assert await answered_soon(impatient)


async def test_late_request_is_dropped_and_busy_graph_stays_ready(graph: str) -> None:
    async with client(graph, "late") as late, client(graph, "probe") as probe:
        pending = asyncio.create_task(late.post("/v2/rerank", json=body(200, timeout_ms=1_000)))
        await asyncio.sleep(0.5)
        ready = await probe.get("/ready")
        answer = await pending
        assert (answer.status_code, ready.status_code) == (504, 200)
        assert "no answer within 1000 ms" in answer.json()["message"]
        assert await answered_soon(probe)
        assert (await probe.get("/health")).json()["tokens_per_s"] == pytest.approx(TOKENS_PER_S, rel=0.3)
