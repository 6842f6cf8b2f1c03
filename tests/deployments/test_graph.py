"""The whole graph on a real Ray cluster, called over real HTTP by real clients."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cohere
import httpx
import pytest
import ray
import torch
from ray import serve
from ray.util import list_named_actors

from cluster.sample import SAMPLE
from deployments.app import build_app, gateway, scorer, tokenizer
from deployments.settings import AppSettings
from reranker import Reranker
from reranker.checkpoints.files import load_tokenizer, locate
from reranker.checkpoints.modules import load_module
from reranker.checkpoints.reference import reference_logits
from reranker.importing import import_checkpoint
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries
from reranker.prompt import DEAR
from reranker.settings import CheckpointSettings
from reranker.types import Passage
from tests.checkpoints import write_llama


@pytest.fixture(scope="module")
def graph(cluster: str) -> Iterator[str]:
    """The embedded model in float32, with two tokenizers and two scorers, so that one of each can be killed."""
    settings = AppSettings.model_validate(
        {
            "dtype": "float32",
            "device": "cpu",
            "limits": {"max_documents": 500, "max_body_bytes": 3_000_000},
            "shards": {"max_chars": 4_000, "direct_chars": 500},
            "engine": {"threads": 1},
            "admission": {"queue_s": 60},  # on a busy machine these tests should wait, not get a 429
        }
    )
    app = gateway.bind(
        settings,
        tokenizer.options(num_replicas=2).bind(settings.checkpoint),
        scorer.options(num_replicas=2).bind(settings.checkpoint, settings.engine),
    )
    serve.run(app, name="reranker", route_prefix="/")
    yield cluster
    serve.delete("reranker")


@pytest.fixture(scope="module")
def client(graph: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=graph, timeout=60) as client:
        yield client


def sample() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A few queries of the sample collection with their candidates."""
    queries, passages = read_queries(SAMPLE / "queries.jsonl"), dict(iter_corpus(SAMPLE / "corpus.jsonl"))
    for query_id, docids in list(read_run(SAMPLE / "run.trec").items())[:3]:
        yield queries[query_id], [{"id": docid, "text": passages[docid].text} for docid in docids]


def test_http_scores_equal_those_of_the_library(client: httpx.Client) -> None:
    """Each request is cut into several shards here."""
    reranker = Reranker(dtype="float32")
    for query, documents in sample():
        body = {"query": query, "documents": documents, "raw_scores": True, "verbose": True}
        results = client.post("/v2/rerank", json=body).json()["results"]
        expected = reranker.rank(query, documents)
        assert [result["id"] for result in results] == [hit.id for hit in expected]
        assert [result["relevance_score"] for result in results] == pytest.approx(
            [hit.logit for hit in expected], abs=1e-4
        )
        assert [result["truncated"] for result in results] == [hit.truncated for hit in expected]


def test_cohere_sdk_works_unmodified(graph: str) -> None:
    query, documents = next(sample())
    texts = [document["text"] for document in documents]
    expected = [hit.index for hit in Reranker(dtype="float32").rank(query, texts, 5)]
    with httpx.Client() as transport:  # the SDK would not close its own client
        for kind in (cohere.ClientV2, cohere.Client):
            sdk = kind("any key", base_url=graph, httpx_client=transport)
            results = sdk.rerank(model="any", query=query, documents=texts, top_n=5).results
            assert [result.index for result in results] == expected
            assert 0 <= results[0].relevance_score <= 1


def test_cohere_sdk_raises_its_own_error(graph: str) -> None:
    with httpx.Client() as transport:
        sdk = cohere.ClientV2("any key", base_url=graph, httpx_client=transport)
        with pytest.raises(cohere.BadRequestError, match="documents: is empty"):
            sdk.rerank(model="any", query="q", documents=[])


def test_status_routes_describe_the_model(client: httpx.Client) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["model"], health["template"]) == ("alive", "embedded", "dear")
    assert (health["device"], health["dtype"]) == ("cpu", "float32")
    assert health["fidelity"].startswith("verified: 48 golden scores")
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/v1/models").json()["data"][0]["id"] == "embedded"
    assert client.get("/info").json()["max_input_length"] == 228
    assert "/v2/rerank" in client.get("/openapi.json").json()["paths"]
    assert client.get("/docs").status_code == 200


def test_invalid_input_gets_a_clear_4xx_and_leaves_the_graph_ready(client: httpx.Client) -> None:
    cases = [
        ({"query": " ", "documents": ["a"]}, 400, "query: is empty"),
        ({"query": "q", "documents": []}, 400, "documents: is empty"),
        ({"query": "q", "documents": ["a"] * 501}, 400, "501 documents, limit 500"),
        (
            {"query": "q", "documents": ["a " * 400], "truncation": "error"},
            400,
            "document 0 and the query exceed 228",
        ),
    ]
    for body, status, message in cases:
        response = client.post("/v2/rerank", json=body)
        assert (response.status_code, message in response.json()["message"]) == (status, True), response.text
    too_large = client.post("/v2/rerank", content=b" " * 3_000_001)
    assert (too_large.status_code, "3000000 bytes" in too_large.json()["message"]) == (413, True)
    assert client.get("/ready").status_code == 200


def test_unusual_texts_are_scored(client: httpx.Client) -> None:
    documents = [
        "\x00\x07",
        "\ud800",
        "🌊👩‍👩‍👧",
        "مد وجزر",
        "[SEP] <|end_of_text|>",
        "",
        "a " * 500_000,
        "same",
        "same",
    ]
    body = json.dumps({"query": "\ud800 tide " * 300, "documents": documents, "verbose": True, "raw_scores": True})
    response = client.post("/v2/rerank", content=body)
    assert response.status_code == 200, response.text
    results = {result["index"]: result for result in response.json()["results"]}
    assert sorted(results) == list(range(len(documents)))
    assert results[6]["truncated"]
    assert results[7]["relevance_score"] == results[8]["relevance_score"]


def test_missed_deadline_is_a_504_that_names_the_timeout(client: httpx.Client) -> None:
    documents = [f"passage {n} " * 150 for n in range(400)]
    response = client.post("/v2/rerank", json={"query": "q", "documents": documents, "timeout_ms": 50})
    assert response.status_code == 504
    assert "no answer within 50 ms" in response.json()["message"]
    assert client.get("/ready").status_code == 200  # its queued pairs were dropped, not scored first


@pytest.mark.parametrize("victim", ["Scorer", "Tokenizer"])
def test_no_request_fails_when_a_replica_is_killed(client: httpx.Client, graph: str, victim: str) -> None:
    query, documents = next(sample())
    expected = _order(client.post("/v2/rerank", json={"query": query, "documents": documents}))
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def send_requests() -> None:
        with httpx.Client(base_url=graph, timeout=120) as own:
            while not stop.is_set():
                answers.append(own.post("/v2/rerank", json={"query": query, "documents": documents}))

    clients = [threading.Thread(target=send_requests) for _ in range(3)]
    for thread in clients:
        thread.start()
    try:
        time.sleep(2)
        replica = next(actor for actor in list_named_actors(all_namespaces=True) if f"#{victim}#" in actor["name"])
        ray.kill(ray.get_actor(replica["name"], replica["namespace"]))  # immediate, like SIGKILL
        answered_before = len(answers)
        deadline = time.monotonic() + 60
        while len(answers) < answered_before + 12 and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        stop.set()
        for thread in clients:
            thread.join()

    assert len(answers) >= answered_before + 12
    assert {answer.status_code for answer in answers} == {200}
    assert all(_order(answer) == expected for answer in answers)


@pytest.mark.parametrize(
    ("config_pad", "pooling"),
    [
        pytest.param("tokenizer's", "last", marks=pytest.mark.slow),
        (0, "padded"),
        pytest.param(None, "padded", marks=pytest.mark.slow),
    ],
)
def test_llama_is_served_with_the_scores_of_hugging_face(
    cluster: str, config_pad: int | str | None, pooling: str, tmp_path: Path
) -> None:
    """Deployed as `serve run deployments.app:build_app model=DIR` does, beside the other graph.

    Where the tokenizer pads with another id than the config names, the scores are those of DeAR's padded quick start.
    """
    llama = write_llama(tmp_path / "llama", pad_is_eos=True, config_pad=config_pad)
    source = CheckpointSettings(model=str(llama), template="dear", max_pair_tokens=228)
    import_checkpoint(source, tmp_path / "imported")
    settings = AppSettings(model=str(tmp_path / "imported"), device="cpu")
    serve.run(build_app(settings), name="llama", route_prefix="/llama")
    try:
        query, documents = next(sample())
        body = {"query": query, "documents": documents, "raw_scores": True}
        results = httpx.post(f"{cluster}/llama/v2/rerank", json=body, timeout=60).json()["results"]
        health = httpx.get(f"{cluster}/llama/health").json()
    finally:
        serve.delete("llama")

    files = locate(source, weights=True)
    pairs = [(query, Passage(document["text"])) for document in documents]
    module = load_module(files, dtype=torch.float32, device="cpu")
    expected = reference_logits(module, load_tokenizer(files), DEAR, 228, pairs, padded=pooling == "padded")
    scores = {result["index"]: result["relevance_score"] for result in results}
    assert [scores[index] for index in range(len(documents))] == pytest.approx(expected.tolist(), abs=1e-4)
    assert (health["model"], health["dtype"]) == ("imported", "float32")
    assert health["pooling"].startswith(pooling)
    assert health["fidelity"].startswith("verified: 48 golden scores")


def test_checkpoint_with_wrong_golden_scores_is_not_served_and_health_says_why(
    cluster: str, llama: Path, tmp_path: Path
) -> None:
    import_checkpoint(CheckpointSettings(model=str(llama)), tmp_path / "spoiled")
    manifest = json.loads((tmp_path / "spoiled" / "reranker.json").read_text())
    manifest["golden"][3]["logit"] += 1
    (tmp_path / "spoiled" / "reranker.json").write_text(json.dumps(manifest))
    app = build_app(AppSettings(model=str(tmp_path / "spoiled"), device="cpu"))
    try:
        with pytest.raises(RuntimeError):
            serve.run(app, name="spoiled", route_prefix="/spoiled")
        health = httpx.get(f"{cluster}/spoiled/health", timeout=30)
        refused = httpx.post(f"{cluster}/spoiled/v2/rerank", json={"query": "q", "documents": ["a"]}, timeout=30)
    finally:
        serve.delete("spoiled")

    assert (health.status_code, health.json()["status"]) == (200, "alive")
    assert "golden pair 3 scores" in health.json()["problem"]
    assert refused.status_code == 503


def _order(response: httpx.Response) -> list[int]:
    return [result["index"] for result in response.json()["results"]]
