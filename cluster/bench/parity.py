"""Do all roads give the same scores? One collection through Hugging Face's loop, the HTTP graph, and a batch job.

Prints nDCG@10 of each road and the largest difference of its logits to the reference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cluster.batch.job import run_batch
from cluster.batch.settings import BatchSettings
from cluster.local.graph import serving
from reranker.checkpoints.files import load_encoder, load_module, load_tokenizer, locate
from reranker.checkpoints.reference import reference_logits
from reranker.ir.measures import evaluate
from reranker.ir.trec import Run, iter_corpus, read_qrels, read_queries, read_run
from reranker.settings import CheckpointSettings
from reranker.types import Passage

Logits = dict[str, dict[str, float]]  # by query_id, then docid


def compare_roads(collection: Path, checkpoint: CheckpointSettings, console: Console, *, port: int) -> dict[str, Any]:
    """collection: a directory with queries.jsonl, corpus.jsonl, run.trec and qrels.tsv."""
    queries, run = read_queries(collection / "queries.jsonl"), read_run(collection / "run.trec")
    qrels = read_qrels(collection / "qrels.tsv")
    wanted = {docid for docids in run.values() for docid in docids}
    passages = {docid: passage for docid, passage in iter_corpus(collection / "corpus.jsonl") if docid in wanted}
    roads: dict[str, Logits] = {
        "Hugging Face loop": _reference(queries, passages, run, checkpoint, console),
        "HTTP": _http(queries, passages, run, checkpoint, console, port),
        "batch": _batch(collection, checkpoint, console),
    }
    reference = roads["Hugging Face loop"]
    rows: list[dict[str, Any]] = [
        {"road": "first stage", "ndcg_10": evaluate(qrels, run).aggregate["nDCG@10"], "max_difference": None}
    ]
    for road, logits in roads.items():
        ranking = {
            query_id: sorted(scores, key=scores.__getitem__, reverse=True) for query_id, scores in logits.items()
        }
        difference = max(abs(logits[q][d] - reference[q][d]) for q in reference for d in reference[q])
        rows.append(
            {"road": road, "ndcg_10": evaluate(qrels, ranking).aggregate["nDCG@10"], "max_difference": difference}
        )
    table = Table("road", "nDCG@10", "largest |logit - reference|")
    for row in rows:
        table.add_row(
            row["road"],
            f"{row['ndcg_10']:.6f}",
            "" if row["max_difference"] is None else f"{row['max_difference']:.2g}",
        )
    console.print(table)
    return {"collection": collection.name, "pairs": sum(map(len, run.values())), "roads": rows}


def _reference(
    queries: Mapping[str, str],
    passages: Mapping[str, Passage],
    run: Run,
    checkpoint: CheckpointSettings,
    console: Console,
) -> Logits:
    files = locate(checkpoint, weights=True)
    encoder, tokenizer = load_encoder(checkpoint, files), load_tokenizer(files)
    module = load_module(files, dtype=getattr(torch, checkpoint.dtype), device="cpu")
    return {
        query_id: dict(
            zip(
                docids,
                reference_logits(
                    module,
                    tokenizer,
                    encoder.template,
                    encoder.max_pair_tokens,
                    [(queries[query_id], passages[docid]) for docid in docids],
                ).tolist(),
                strict=True,
            )
        )
        for query_id, docids in track(run.items(), "Hugging Face, one pair at a time", console=console)
    }


def _http(
    queries: Mapping[str, str],
    passages: Mapping[str, Passage],
    run: Run,
    checkpoint: CheckpointSettings,
    console: Console,
    port: int,
) -> Logits:
    logits: Logits = {}
    args = checkpoint.model_dump(exclude_defaults=True)
    with serving(console, port=port, **args) as url, httpx.Client(base_url=url, timeout=120) as client:
        for query_id, docids in track(run.items(), "HTTP", console=console):
            documents = [{"id": d, "title": passages[d].title, "text": passages[d].text} for d in docids]
            body = {"query": queries[query_id], "documents": documents, "raw_scores": True}
            answer = client.post("/v2/rerank", json=body).raise_for_status().json()
            logits[query_id] = {hit["id"]: float(np.float32(hit["relevance_score"])) for hit in answer["results"]}
    return logits


def _batch(collection: Path, checkpoint: CheckpointSettings, console: Console) -> Logits:
    with tempfile.TemporaryDirectory(prefix="reranker-roads-") as scratch:
        output = Path(scratch, "out")
        run_batch(
            BatchSettings(
                queries=str(collection / "queries.jsonl"),
                corpus=str(collection / "corpus.jsonl"),
                run=str(collection / "run.trec"),
                output=output,
                checkpoint=checkpoint,
            ),
            console,
        )
        table = pq.read_table(output / "parquet")
    logits: Logits = {}
    for row in table.to_pylist():
        logits.setdefault(row["query_id"], {})[row["docid"]] = row["logit"]
    return logits
