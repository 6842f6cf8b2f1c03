"""One collection through Hugging Face's loop, the HTTP graph and a batch job: equal logits, the same nDCG@10."""

import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from cluster.local.graph import serving
from cluster.local.host import free_port
from cluster.sample import SAMPLE
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import load_tokenizer, locate
from reranker.checkpoints.modules import load_module
from reranker.checkpoints.reference import reference_logits
from reranker.ir.measures import evaluate
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries
from reranker.settings import CheckpointSettings

Logits = dict[str, dict[str, float]]  # by query id, then docid

QUERIES, RUN = read_queries(SAMPLE / "queries.jsonl"), read_run(SAMPLE / "run.trec")
PASSAGES = dict(iter_corpus(SAMPLE / "corpus.jsonl"))


@pytest.mark.slow
def test_http_and_batch_give_the_logits_and_ndcg_of_huggingface(tmp_path: Path) -> None:
    expected = huggingface_logits()
    for found in (http_logits(), batch_logits(tmp_path / "out")):
        assert {query_id: set(scores) for query_id, scores in found.items()} == {
            query_id: set(docids) for query_id, docids in RUN.items()
        }
        for query_id, scores in expected.items():
            assert found[query_id] == pytest.approx(scores, abs=1e-4, rel=0)
        assert ndcg_10(found) == ndcg_10(expected)


def huggingface_logits() -> Logits:
    checkpoint = CheckpointSettings(dtype="float32")
    files = locate(checkpoint, weights=True)
    encoder, tokenizer = load_encoder(checkpoint, files), load_tokenizer(files)
    module = load_module(files, dtype=torch.float32, device="cpu")
    logits: Logits = {}
    for query_id, docids in RUN.items():
        pairs = [(QUERIES[query_id], PASSAGES[docid]) for docid in docids]
        scores = reference_logits(module, tokenizer, encoder.template, encoder.max_pair_tokens, pairs)
        logits[query_id] = dict(zip(docids, scores.tolist(), strict=True))
    return logits


def http_logits() -> Logits:
    logits: Logits = {}
    port = free_port("127.0.0.1")
    with (
        serving(Console(quiet=True), port=port, dtype="float32") as url,
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        for query_id, docids in RUN.items():
            documents = [{"id": d, "title": PASSAGES[d].title, "text": PASSAGES[d].text} for d in docids]
            body = {"query": QUERIES[query_id], "documents": documents, "raw_scores": True}
            answer = client.post("/v2/rerank", json=body).raise_for_status().json()
            logits[query_id] = {hit["id"]: hit["relevance_score"] for hit in answer["results"]}
    return logits


def batch_logits(output: Path) -> Logits:
    files = {"--queries": "queries.jsonl", "--corpus": "corpus.jsonl", "--run": "run.trec"}
    inputs = [text for option, name in files.items() for text in (option, str(SAMPLE / name))]
    program = Path(sys.executable).with_name("reranker")
    subprocess.run([program, "batch", *inputs, "--output", output, "--dtype", "float32"], check=True)
    logits: Logits = {}
    for row in pq.read_table(output / "parquet").to_pylist():
        logits.setdefault(row["query_id"], {})[row["docid"]] = row["logit"]
    return logits


def ndcg_10(logits: Logits) -> float:
    run = {query_id: sorted(scores, key=scores.__getitem__, reverse=True) for query_id, scores in logits.items()}
    return evaluate(read_qrels(SAMPLE / "qrels.tsv"), run).aggregate["nDCG@10"]
