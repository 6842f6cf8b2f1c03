"""Start the graph on this machine, rerank a small collection over HTTP, and show the gain in nDCG.

`reranker demo` runs this.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from cluster.local.client import client_of
from cluster.local.graph import serving
from cluster.sample import CORPUS, QRELS, QUERIES, RUN
from reranker.ir.measures import evaluate
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries

SHOWN_RANKS = 5


def run_demo(console: Console, port: int) -> None:
    """Raises RerankerError when the graph does not start."""
    queries, run, qrels = read_queries(QUERIES), read_run(RUN), read_qrels(QRELS)
    passages = dict(iter_corpus(CORPUS))
    with serving(console, port=port) as url, client_of(url, 60) as client:
        console.print(f"[bold]The graph is ready[/bold] at {url} · API docs: {url}/docs · health: {url}/health")
        health = client.get("/health").json()
        console.print(f"model {health['model']} ({health['dtype']} on {health['device']}), {health['fidelity']}")
        reranked, started = {}, time.perf_counter()
        for query_id, docids in run.items():
            documents = [{"id": docid, "text": passages[docid].text} for docid in docids]
            answer = client.post("/v2/rerank", json={"query": queries[query_id], "documents": documents})
            answer.raise_for_status()
            reranked[query_id] = [documents[hit["index"]]["id"] for hit in answer.json()["results"]]
        seconds = time.perf_counter() - started
        pairs = sum(map(len, run.values()))
        console.print(f"reranked {len(run)} queries, {pairs} passages over HTTP in {seconds:.1f} s\n")
    chosen = next(iter(run))
    table = Table("rank", title=f"“{queries[chosen]}”", title_justify="left", expand=True)
    for name in ("BM25", "reranked"):
        table.add_column(f"{name} (grade 0-2)", ratio=1, overflow="ellipsis", no_wrap=True)
    for rank in range(SHOWN_RANKS):
        hits = [ranking[chosen][rank] for ranking in (run, reranked)]
        table.add_row(str(rank + 1), *(f"({qrels[chosen].get(hit, 0)}) {passages[hit].text}" for hit in hits))
    console.print(table)
    before, after = (evaluate(qrels, ranking).aggregate["nDCG@10"] for ranking in (run, reranked))
    console.print(f"nDCG@10  BM25 {before:.4f}  →  reranked {after:.4f}")
    console.print("The graph was stopped; [bold]reranker serve[/bold] starts it and keeps it running.")
