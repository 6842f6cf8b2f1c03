"""Inputs for the batch benchmark: those of a collection, or synthetic ones of any size."""

from __future__ import annotations

import json
import random
from pathlib import Path

from cluster.bench.workload import sample_requests
from cluster.sample import SAMPLE
from reranker.ir.texts import iter_corpus, read_queries

Inputs = dict[str, str]

CANDIDATES = 1_000


def collection_inputs(directory: Path) -> Inputs:
    return {
        "queries": str(directory / "queries.jsonl"),
        "corpus": str(directory / "corpus.jsonl"),
        "run": str(directory / "run.trec"),
    }


def realistic_inputs(directory: Path, queries: int, candidates: int) -> Inputs:
    """Bundled texts with the lengths of MS MARCO passages; no passage occurs twice."""
    path = directory / "candidates.jsonl"
    with path.open("w") as file:
        for number, request in enumerate(sample_requests(queries, candidates, seed=0)):
            row = {
                "query_id": f"q{number}",
                "query": request.query,
                "docids": [f"d{number}-{rank}" for rank in range(candidates)],
                "texts": [passage.text for passage in request.passages],
            }
            file.write(json.dumps(row) + "\n")
    return {"candidates": str(path)}


def large_inputs(directory: Path, rows: int) -> Inputs:
    """A run of `rows` candidates, 1,000 per query, and a shuffled corpus with a passage for each."""
    words = " ".join(passage.text for _, passage in iter_corpus(SAMPLE / "corpus.jsonl")).split()
    texts = list(read_queries(SAMPLE / "queries.jsonl").values())
    rng = random.Random(0)  # noqa: S311  (a workload, not a secret)
    queries = max(1, rows // CANDIDATES)
    with (directory / "queries.jsonl").open("w") as file:
        for number in range(queries):
            file.write(json.dumps({"_id": f"q{number}", "text": f"{rng.choice(texts)} {number}"}) + "\n")
    docids = rng.sample(range(10**6, 10**7), rows)
    with (directory / "run.trec").open("w") as file:
        for place, docid in enumerate(docids):
            rank = place // queries + 1  # queries alternate, so the run is not grouped by query
            file.write(f"q{place % queries} Q0 {docid} {rank} {1000 - rank} bench\n")
    rng.shuffle(docids)
    with (directory / "corpus.jsonl").open("w") as file:
        for docid in docids:
            start, length = rng.randrange(len(words) - 200), rng.randrange(20, 120)
            text = " ".join(words[start : start + length])
            file.write(json.dumps({"_id": str(docid), "title": "", "text": text}) + "\n")
    return collection_inputs(directory)
