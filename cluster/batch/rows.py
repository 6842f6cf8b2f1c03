"""Queries, corpus and run become candidate rows: one row a query, its candidates as list columns.

The first-stage run decides which passages are needed; only those are held in memory while the corpus streams by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from cluster.batch.settings import BatchSettings
from cluster.batch.stages import CANDIDATE_ROWS
from reranker.errors import InvalidFile
from reranker.trec import Run, iter_corpus, read_queries, read_run
from reranker.types import Passage

QUERIES_PER_BLOCK = 8


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a job will score. missing_*: named by the run and in no file, left out on request."""

    queries: dict[str, str]
    passages: dict[str, Passage]
    run: Run
    missing_queries: int
    missing_passages: int

    @property
    def pairs(self) -> int:
        return sum(map(len, self.run.values()))

    def blocks(self) -> Iterator[pa.Table]:
        """CANDIDATE_ROWS in the order of the run, a bounded number of queries a block."""
        query_ids = list(self.run)
        for start in range(0, len(query_ids), QUERIES_PER_BLOCK):
            rows = [
                {
                    "query_id": query_id,
                    "query": self.queries[query_id],
                    "docids": self.run[query_id],
                    "titles": [self.passages[docid].title for docid in self.run[query_id]],
                    "texts": [self.passages[docid].text for docid in self.run[query_id]],
                }
                for query_id in query_ids[start : start + QUERIES_PER_BLOCK]
            ]
            yield pa.Table.from_pylist(rows, schema=CANDIDATE_ROWS)


def read_candidates(settings: BatchSettings) -> Candidates:
    """Raises InvalidFile for a file that cannot be read, or a run that names what no file holds."""
    queries, run = read_queries(settings.queries), read_run(settings.run)
    wanted = {docid for docids in run.values() for docid in docids}
    passages = {docid: passage for docid, passage in iter_corpus(settings.corpus) if docid in wanted}
    lost_queries, lost_passages = run.keys() - queries.keys(), wanted - passages.keys()
    if (lost_queries or lost_passages) and not settings.allow_missing:
        example = next(iter(sorted(lost_queries) or sorted(lost_passages)))
        raise InvalidFile(
            settings.run,
            f"names {len(lost_queries)} queries and {len(lost_passages)} passages that are in no file "
            f"(such as {example!r}): mend the files, or leave them out with --allow-missing",
        )
    kept = {
        query_id: [docid for docid in docids if docid in passages]
        for query_id, docids in run.items()
        if query_id in queries
    }
    kept = {query_id: docids for query_id, docids in kept.items() if docids}
    if not kept:
        raise InvalidFile(settings.run, "none of its candidates is in the query and corpus files")
    return Candidates(queries, passages, kept, len(lost_queries), len(lost_passages))
