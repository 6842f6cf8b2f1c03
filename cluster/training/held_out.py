"""The held collection that a run is measured on while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cluster.evaluation.collection import find_collections
from reranker.errors import InvalidFile
from reranker.ir.measures import evaluate
from reranker.ir.qrels import Qrels, read_qrels
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_passages, iter_queries
from reranker.pair_encoder import PairEncoder
from reranker.pairs import EncodedPairs, FloatArray
from reranker.training.trainer import Trainer

_PAIRS_AT_ONCE = 128


class HeldOut(NamedTuple):
    """A collection's first-stage candidates, encoded once. docids: per query, in the first stage's order."""

    name: str
    qrels: Qrels
    query_ids: list[str]
    docids: list[list[str]]
    pairs: list[EncodedPairs]


def read_held_out(directory: Path, depth: int, encoder: PairEncoder) -> HeldOut:
    """Raises InvalidFile where the run names queries or passages that the collection lacks."""
    found = find_collections(directory, directory / "none")
    if len(found) != 1:
        raise InvalidFile(directory, f"holds {len(found)} collections: evaluation.collection takes one")
    collection = found[0]
    qrels = read_qrels(collection.qrels)
    run = {query_id: docids for query_id, docids in read_run(collection.run).items() if query_id in qrels}
    wanted = {docid for docids in run.values() for docid in docids[:depth]}
    passages = {docid: passage for _, docid, passage in iter_passages(collection.corpus) if docid in wanted}
    queries = {query_id: query for _, query_id, query in iter_queries(collection.queries)}
    if missing := sorted(wanted - passages.keys()):
        raise InvalidFile(collection.run, f"names passages that the corpus lacks, such as {missing[0]!r}")
    if missing := sorted(run.keys() - queries.keys()):
        raise InvalidFile(collection.run, f"names queries that {collection.queries} lacks, such as {missing[0]!r}")
    query_ids = list(run)
    docids = [list(run[query_id][:depth]) for query_id in query_ids]
    pairs = [
        encoder.encode(queries[query_id], [passages[docid] for docid in group])
        for query_id, group in zip(query_ids, docids, strict=True)
    ]
    return HeldOut(collection.name, qrels, query_ids, docids, pairs)


def scored_share(held: HeldOut, trainer: Trainer, rank: int, workers: int) -> list[FloatArray]:
    """Logits of this worker's share of the queries, in order."""
    parts: list[EncodedPairs] = []
    sizes: list[int] = []
    for pairs in held.pairs[rank::workers]:
        chunks = np.array_split(np.arange(len(pairs)), max(1, -(-len(pairs) // _PAIRS_AT_ONCE)))
        parts += [pairs.take(chunk) for chunk in chunks]
        sizes.append(len(chunks))
    scores = iter(trainer.score(parts))
    return [np.concatenate([next(scores) for _ in range(size)]) for size in sizes]


def ndcg(held: HeldOut, shares: Sequence[Sequence[FloatArray]]) -> float:
    """nDCG@10 from all workers' shares."""
    workers = len(shares)
    run = {}
    for at, (query_id, docids) in enumerate(zip(held.query_ids, held.docids, strict=True)):
        logits = shares[at % workers][at // workers]
        run[query_id] = [docids[n] for n in np.argsort(-logits, kind="stable")]
    return evaluate(held.qrels, run).aggregate["nDCG@10"]
