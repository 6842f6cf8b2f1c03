"""Candidates of a first stage are ranked, cut at depth and deduplicated as in a few lines of plain Python."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.inputs import first_stage
from cluster.batch.inputs.first_stage import FirstStage, Ranked
from reranker.errors import InvalidFile
from reranker.ir.lines import refuse

# Few names and scores, so that candidates repeat, tie and interleave; some scores differ in the last bit only.
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["q1", "q2", "q3", "ö", "q 4"]),
        st.sampled_from([f"d{n}" for n in range(12)] + ["", "é", "𝄞"]),
        st.sampled_from([1.0, np.nextafter(1.0, 2.0), 0.0, -0.0, -7.5, 1e300, -1e300, 5e-324]),
    ),
    min_size=1,
    max_size=80,
)
Row = tuple[str, str, float]


def expected(rows: list[Row], depth: int | None) -> tuple[list[tuple[str, str, int]], list[int]]:
    """(query_id, docid, index into rows), queries in order of first appearance, and the indices of repetitions."""
    seen: dict[tuple[str, str], int] = {}
    twice = [at for at, (query_id, docid, _) in enumerate(rows) if seen.setdefault((query_id, docid), at) != at]
    ranked: list[tuple[str, str, int]] = []
    for query in dict.fromkeys(query_id for query_id, _, _ in rows):
        of_query = [at for (query_id, _), at in seen.items() if query_id == query]
        best_first = sorted(of_query, key=lambda at: rows[at][2], reverse=True)  # stable: ties keep their order
        ranked += [(query, rows[at][1], at) for at in best_first[:depth]]
    return ranked, twice


def collected(rows: list[Row]) -> FirstStage:
    stage = FirstStage()
    for at, (query_id, docid, score) in enumerate(rows):
        stage.add(100 + at, query_id, docid, score)
    return stage


def listed(ranked: Ranked, stage: FirstStage) -> list[tuple[str, str, int]]:
    docids = ranked.docids.to_pylist()
    return [
        (stage.query_ids[query], docids[docid], at)
        for query, docid, at in zip(ranked.query.tolist(), ranked.docid.tolist(), ranked.added.tolist(), strict=True)
    ]


@pytest.fixture(scope="module", params=[32_768, 5, 1])
def chunk_rows(request: pytest.FixtureRequest) -> Iterator[None]:
    """Number of docids per chunk; with small chunks, hypothesis' lists span several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_stage, "_CHUNK_ROWS", request.param)
        yield


@pytest.mark.usefixtures("chunk_rows")
@given(rows=ROWS, depth=st.none() | st.integers(1, 6))
def test_ranked_equals_a_plain_python_ranking(rows: list[Row], depth: int | None) -> None:
    stage = collected(rows)
    bad: list[tuple[InvalidFile, object]] = []
    ranked = stage.ranked(Path("run.trec"), depth, lambda error, row: bad.append((error, row)))
    candidates, twice = expected(rows, depth)
    assert listed(ranked, stage) == candidates
    assert [(error.path, error.line) for error, _ in bad] == [("run.trec", 100 + at) for at in twice]
    for (error, _), at in zip(bad, twice, strict=True):
        assert error.problem == f"passage {rows[at][1]!r} occurs twice for query {rows[at][0]!r}"

    docids = ranked.docids.to_pylist()
    assert len(set(docids)) == len(docids), "docids are unique"
    assert set(docids) == {docid for _, docid, _ in candidates}, "docids below depth are dropped"
    assert (ranked.query.dtype, ranked.added.dtype, ranked.docid.dtype) == (np.int32, np.int64, np.int32)
    assert ranked.docids.type == pa.large_string()


@given(rows=ROWS)
def test_repeated_candidate_raises_if_bad_rows_are_refused(rows: list[Row]) -> None:
    rows = [*rows, (rows[0][0], rows[0][1], 3.0)]
    with pytest.raises(InvalidFile, match="occurs twice for query"):
        collected(rows).ranked("run.trec", None, refuse)


def test_ranked_keeps_the_best_of_many_candidates() -> None:
    rng = np.random.default_rng(0)
    scores = rng.permutation(100_000).astype(float)
    stage = FirstStage()
    for at, score in enumerate(scores):
        stage.add(at, f"q{at % 100}", f"d{at // 100}", score)
    ranked = stage.ranked("run.trec", 10, refuse)
    assert len(ranked.query) == 1_000
    assert (np.diff(ranked.query) >= 0).all()
    of_query = scores[ranked.added].reshape(100, 10)
    assert (np.diff(of_query, axis=1) < 0).all()
    assert (of_query.min(axis=1) > [np.sort(scores[query::100])[-11] for query in range(100)]).all()
