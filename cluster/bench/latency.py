"""How long does one request take over HTTP, beside sentence-transformers' CrossEncoder in process?

Rounds of both are interleaved, each on the candidates of another query, and medians are compared: this machine's
clock is noisy.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cluster.local_graph import serving
from reranker.checkpoint import load_encoder, locate
from reranker.settings import CheckpointSettings
from reranker.trec import iter_corpus, read_queries, read_run
from reranker.types import Passage

WARM_UP_ROUNDS = 3


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
    peer = _CrossEncoder(model) if find_spec("sentence_transformers") else None
    seconds: dict[str, list[float]] = {"HTTP graph": []}
    with serving(console, port=port, model=model) as url, httpx.Client(base_url=url, timeout=600) as client:
        for query, documents in track(requests, "requests", console=console):
            started = time.perf_counter()
            body = {"query": query, "documents": [{"title": d.title, "text": d.text} for d in documents]}
            client.post("/v2/rerank", json=body).raise_for_status()
            seconds["HTTP graph"].append(time.perf_counter() - started)
            if peer:
                started = time.perf_counter()
                peer.rank(query, documents)
                seconds.setdefault("CrossEncoder, in process", []).append(time.perf_counter() - started)
    medians = {name: median(taken[WARM_UP_ROUNDS:]) for name, taken in seconds.items()}
    table = Table("contender", f"s for {passages} passages", "passages/s")
    for name, taken in medians.items():
        table.add_row(name, f"{taken:.3f}", f"{passages / taken:.0f}")
    console.print(table)
    if peer is None:
        console.print("CrossEncoder was skipped: pip install sentence-transformers")
    return {
        "model": model,
        "collection": collection.name,
        "passages": passages,
        "rounds": rounds,
        "median_s": medians,
    }


class _CrossEncoder:
    """The peer as its users call it, on the same texts, dtype and length."""

    def __init__(self, model: str) -> None:
        from sentence_transformers import CrossEncoder

        settings = CheckpointSettings(model=model)
        files = locate(settings, weights=True)
        self._encoder = load_encoder(settings, files)
        self._model = CrossEncoder(
            str(files.directory),
            max_length=self._encoder.max_pair_tokens,
            model_kwargs={"torch_dtype": "auto"},
            local_files_only=True,
        )

    def rank(self, query: str, documents: list[Passage]) -> None:
        template = self._encoder.template
        pairs = [(template.query(query), template.passage(document)) for document in documents]
        self._model.predict(pairs, show_progress_bar=False)
