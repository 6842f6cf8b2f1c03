"""How long does one request take over HTTP, beside sentence-transformers' CrossEncoder in process?

Rounds of both are interleaved, each on the candidates of another query, and medians are compared: this machine's
clock is noisy.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cluster.bench.engine.contender import PEERS, ContenderProcess
from cluster.local.graph import serving
from reranker.checkpoints.files import load_encoder, locate
from reranker.ir.trec import iter_corpus, read_queries, read_run
from reranker.settings import CheckpointSettings

WARM_UP_ROUNDS = 3
PEER = PEERS["crossencoder"]


def measure_latency(
    collection: Path, model: str, passages: int, rounds: int, console: Console, *, port: int
) -> dict[str, Any]:
    """Medians in seconds, and the same as passages/s. CrossEncoder is left out, and said so, where it is missing."""
    queries, run = read_queries(collection / "queries.jsonl"), read_run(collection / "run.trec")
    corpus = dict(iter_corpus(collection / "corpus.jsonl"))
    requests = [
        (queries[query_id], [corpus[docid] for docid in islice(cycle(docids), passages)])
        for query_id, docids in islice(cycle(run.items()), rounds + WARM_UP_ROUNDS)
    ]
    checkpoint = CheckpointSettings(model=model)
    files = locate(checkpoint, weights=True)
    encoder = load_encoder(checkpoint, files)
    seconds: dict[str, list[float]] = {"HTTP graph": []}
    with ExitStack() as stack:
        url = stack.enter_context(serving(console, port=port, model=model))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=600))
        dtype = client.get("/health").json()["dtype"]
        peer = None
        if (interpreter := PEER.interpreter()) is not None:
            told = {
                "model": str(files.directory),
                "max_pair_tokens": encoder.max_pair_tokens,
                "dtype": dtype,
                "device": "cpu",
                "threads": len(os.sched_getaffinity(0)),
            }
            peer = stack.enter_context(ContenderProcess(PEER, interpreter, told))
        for query, documents in track(requests, "requests", console=console):
            started = time.perf_counter()
            body = {"query": query, "documents": [{"title": d.title, "text": d.text} for d in documents]}
            client.post("/v2/rerank", json=body).raise_for_status()
            seconds["HTTP graph"].append(time.perf_counter() - started)
            if peer is not None:
                written = [encoder.template.passage(document) for document in documents]
                answer = peer.ask({"query": encoder.template.query(query), "documents": written})
                seconds.setdefault("CrossEncoder, in process", []).append(answer["seconds"])
    medians = {name: median(taken[WARM_UP_ROUNDS:]) for name, taken in seconds.items()}
    table = Table("contender", f"s for {passages} passages", "passages/s")
    for name, taken in medians.items():
        table.add_row(name, f"{taken:.3f}", f"{passages / taken:.0f}")
    console.print(table)
    if peer is None:
        console.print(f"CrossEncoder was skipped: {PEER.install_command}")
    return {
        "model": model,
        "dtype": dtype,
        "collection": collection.name,
        "passages": passages,
        "rounds": rounds,
        "median_s": medians,
    }
