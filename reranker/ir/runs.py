"""TREC runs: reading with trec_eval's order or that of the file, and their lines. Every error names file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from reranker.errors import InvalidFile
from reranker.ir.fields import id_of, number_of
from reranker.ir.lines import OnBad, columns_of, iter_lines, refuse
from reranker.ir.locations import Location, redacted
from reranker.pairs import FloatArray
from reranker.types import Ties

Run = dict[str, list[str]]  # query_id -> docids, best first

_FORM = "qid Q0 docid rank score tag"
_LOWEST_SCORE = np.float32(-1e38)


class RunLine(NamedTuple):
    """One candidate of a first-stage run, with its line number."""

    line: int
    query_id: str
    docid: str
    score: float


def iter_run(location: Location, on_bad: OnBad = refuse) -> Iterator[RunLine]:
    """The lines of a TREC run (`qid Q0 docid rank score tag`) in file order. Raises InvalidFile."""
    for line, text in iter_lines(location, on_bad):
        columns = columns_of(text)
        try:
            if len(columns) != 6:
                between = " between tabs" if "\t" in text.strip() else ""
                problem = f"has {len(columns)} columns{between}, expected 6: {_FORM}"
                raise InvalidFile(redacted(location), problem, line)
            query_id, _, docid, _, score, _ = columns
            if "\t" in text:  # else there are no spaces in the ids
                row = {"qid": query_id, "docid": docid}
                query_id, docid = (id_of(location, line, row, field) for field in row)
            candidate = RunLine(line, query_id, docid, number_of(location, line, score, "score"))
        except InvalidFile as error:
            on_bad(error, text)
        else:
            yield candidate


def read_run(location: Location, ties: Ties = "trec_eval") -> Run:
    """A TREC run, queries in file order, candidates by score; the rank column is ignored. Raises InvalidFile."""
    return {query_id: list(scores) for query_id, scores in read_scored_run(location, ties).items()}


def read_scored_run(location: Location, ties: Ties = "trec_eval") -> dict[str, dict[str, float]]:
    """query_id -> docid -> score, in the order of `read_run`. Raises InvalidFile."""
    scores: dict[str, dict[str, float]] = {}
    for line, query_id, docid, score in iter_run(location):
        candidates = scores.setdefault(query_id, {})
        if docid in candidates:
            raise InvalidFile(redacted(location), f"passage {docid!r} occurs twice for query {query_id!r}", line)
        candidates[docid] = score
    return {
        query_id: {docid: candidates[docid] for docid in _best_first(candidates, ties)}
        for query_id, candidates in scores.items()
    }


def _best_first(scores: dict[str, float], ties: Ties) -> list[str]:
    if ties == "file":
        return sorted(scores, key=lambda docid: -scores[docid])
    with np.errstate(over="ignore", under="ignore"):
        singles = dict(zip(scores, np.array(list(scores.values())).astype(np.float32).tolist(), strict=True))
    return sorted(scores, key=lambda docid: (singles[docid], docid), reverse=True)


def run_lines(rankings: Iterable[tuple[str, Iterable[str], FloatArray]], *, tag: str) -> Iterator[str]:
    """The lines of a TREC run, of (query_id, docids, logits), best first.

    Scores are the logits, with ties moved apart so that every tool ranks as we do.
    """
    for query_id, docids, logits in rankings:
        scores = strictly_decreasing(logits)
        for rank, (docid, score) in enumerate(zip(docids, scores, strict=True), 1):
            yield f"{query_id} Q0 {docid} {rank} {score!s} {tag}\n"


def strictly_decreasing(logits: FloatArray) -> FloatArray:
    """Scores that strictly decrease in float32 (trec_eval's precision), as close to the logits as possible. Ours.

    logits: float32 (n,), finite and not increasing. Those below -1e38 are raised to it, to leave room below for ties.
    """
    scores = np.maximum(logits.astype(np.float32), _LOWEST_SCORE)
    for rank in range(1, len(scores)):
        if scores[rank] >= scores[rank - 1]:
            scores[rank] = np.nextafter(scores[rank - 1], np.float32(-np.inf))
    return scores
