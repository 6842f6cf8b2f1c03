"""The candidates of a first stage in compact form: three numbers per candidate, and every docid once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from reranker.errors import InvalidFile
from reranker.ir.lines import OnBad
from reranker.ir.locations import Location, redacted
from reranker.pairs import IntArray, OffsetArray

_CHUNK_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class Ranked:
    """Candidates grouped by query in order of first appearance, best first within a query.

    query: int32 (candidates,), index into `FirstStage.query_ids`. added: int64 (candidates,), the candidate's index
    in order of `FirstStage.add`. docid: int32 (candidates,), index into docids. docids: each named docid once.
    """

    query: IntArray
    added: OffsetArray
    docid: IntArray
    docids: pa.Array


class FirstStage:
    """Collects candidates as they are read."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._query, self._score, self._line = array("i"), array("d"), array("q")
        self._docids: list[str] = []
        self._chunks: list[pa.Array] = []

    @property
    def query_ids(self) -> list[str]:
        """In order of first appearance."""
        return list(self._numbers)

    def add(self, line: int, query_id: str, docid: str, score: float) -> None:
        self._query.append(self._numbers.setdefault(query_id, len(self._numbers)))
        self._score.append(score)
        self._line.append(line)
        self._docids.append(docid)
        if len(self._docids) == _CHUNK_ROWS:
            self._flush()

    def ranked(self, location: Location, depth: int | None, on_bad: OnBad) -> Ranked:
        """The best `depth` candidates of each query (all if None) by descending score; ties keep file order.

        `on_bad` gets each repetition of a candidate within a query; the first occurrence counts.
        """
        self._flush()
        encoded = pa.concat_arrays(self._chunks).dictionary_encode()
        docid = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        query, score = np.frombuffer(self._query, np.int32), np.frombuffer(self._score, np.float64)
        _, first = np.unique(query.astype(np.int64) << 32 | docid, return_index=True)
        if len(first) < len(query):
            repeated = np.ones(len(query), dtype=bool)
            repeated[first] = False
            query_ids = self.query_ids
            for at in np.flatnonzero(repeated).tolist():
                query_id, name = query_ids[query[at]], encoded.dictionary[int(docid[at])].as_py()
                problem = f"passage {name!r} occurs twice for query {query_id!r}"
                on_bad(InvalidFile(redacted(location), problem, self._line[at]), f"{query_id} {name}")
        first.sort()
        order = first[np.lexsort((-score[first], query[first]))]
        if depth is not None:
            starts = np.flatnonzero(np.diff(query[order], prepend=-1))
            ranks = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
            order = order[ranks < depth]
        used, docid = np.unique(docid[order], return_inverse=True)
        return Ranked(query[order], order, docid.astype(np.int32), encoded.dictionary.take(pa.array(used)))

    def _flush(self) -> None:
        self._chunks.append(pa.array(self._docids, pa.large_string()))
        self._docids = []
