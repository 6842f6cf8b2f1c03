"""Hard negatives: what BM25 finds for a query beside its relevant passages, and a few passages at random."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from cluster.training.data.pairs import Labelled
from reranker.pairs import offsets
from reranker.training.groups import Groups

_QUERIES_AT_ONCE = 4_096
MAX_QUERY_CHARS = 2_000  # a longer query costs BM25 time and finds nothing else


def mine_negatives(
    labelled: Labelled, depth: int, random: int, seed: int, on_progress: Callable[[str], None] = lambda _: None
) -> tuple[Groups, np.ndarray]:
    """Groups with the labelled passages, the `depth` that BM25 ranks first, and `random` others.

    Returns the groups, and the BM25 score of every candidate, float32 (candidates,), NaN for one that BM25 does not
    have among its first `depth`.
    """
    import bm25s

    texts = [f"{passage.title} {passage.text}" if passage.title else passage.text for passage in labelled.passages]
    on_progress(f"indexing {len(texts):,} passages")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    depth = min(depth, len(texts))
    generator = np.random.default_rng(seed)
    candidates = _Candidates()
    for start in range(0, len(labelled.queries), _QUERIES_AT_ONCE):
        on_progress(f"searching negatives: {start:,} of {len(labelled.queries):,} queries")
        queries = [query[:MAX_QUERY_CHARS] for query in labelled.queries[start : start + _QUERIES_AT_ONCE]]
        tokens = bm25s.tokenize(queries, stopwords="en", show_progress=False, return_ids=False)
        found, found_scores = index.retrieve(tokens, k=depth, n_threads=-1, show_progress=False)
        for offset, (ranked, ranked_scores) in enumerate(zip(found, found_scores, strict=True)):
            label_of = labelled.labels[start + offset]
            score_of = {int(p): float(s) for p, s in zip(ranked, ranked_scores, strict=True) if s > 0}
            extra = generator.integers(0, len(texts), random).tolist()
            candidates.add(label_of, score_of, extra)
    return candidates.groups()


def negatives_from_run(labelled: Labelled, run: dict[str, dict[str, float]], depth: int) -> tuple[Groups, np.ndarray]:
    """Groups with the labelled passages and the first `depth` of a run; docids that the corpus lacks are left out."""
    position_of = {docid: position for position, docid in enumerate(labelled.docids)}
    candidates = _Candidates()
    for query_id, label_of in zip(labelled.query_ids, labelled.labels, strict=True):
        ranked = list(run.get(query_id, {}).items())[:depth]
        score_of = {position_of[docid]: score for docid, score in ranked if docid in position_of}
        candidates.add(label_of, score_of)
    return candidates.groups()


class _Candidates:
    """The candidates of one query after another."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._passages: list[int] = []
        self._labels: list[float] = []
        self._scores: list[float] = []

    def add(self, label_of: Mapping[int, float], score_of: Mapping[int, float], extra: Iterable[int] = ()) -> None:
        """One query's: the labelled passages, those of the first stage, then others; each passage once."""
        group = list(dict.fromkeys((*label_of, *score_of, *extra)))
        self._counts.append(len(group))
        self._passages += group
        self._labels += [label_of.get(position, 0.0) for position in group]
        self._scores += [score_of.get(position, np.nan) for position in group]

    def groups(self) -> tuple[Groups, np.ndarray]:
        """All groups, and the first stage's scores, float32 (candidates,), NaN where it has none."""
        groups = Groups(
            offsets(np.array(self._counts, dtype=np.int64)),
            np.array(self._passages, dtype=np.int32),
            np.array(self._labels, dtype=np.float32),
        )
        return groups, np.array(self._scores, dtype=np.float32)
