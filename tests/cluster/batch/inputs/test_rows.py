"""Tables of candidates: both forms in every format, optional fields, and errors of bad rows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.batch.inputs.rows import CandidateRow, iter_pair_rows, iter_query_rows
from reranker.errors import InvalidFile
from reranker.ir.lines import OnBad, refuse
from reranker.types import Passage
from tests.cluster.batch.collections import Row, pair_rows, query_rows, write_rows
from tests.reranker.ir.files import content_of

Read = Callable[[Path, OnBad], Iterator[CandidateRow]]
PAIR = {"query_id": "q", "query": "when", "docid": "d", "text": "noon", "title": "Tides", "first_stage_score": 2.5}
QUERY = {
    "query_id": "q",
    "query": "when",
    "docids": ["d", "e"],
    "texts": ["noon", ""],
    "titles": ["Tides", ""],
    "first_stage_scores": [2.5, -1],
}
EXPECTED = [
    CandidateRow(1, "q", "when", "d", Passage("noon", "Tides"), 2.5),
    CandidateRow(1, "q", "when", "e", Passage("", ""), -1.0),
]


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def refusal(read: Read, path: Path) -> InvalidFile:
    with pytest.raises(InvalidFile) as caught:
        list(read(path, refuse))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_candidates_are_equal_for_pairs_and_query_rows_in_every_format(suffix: str, tmp_path: Path) -> None:
    pairs = write_rows(tmp_path / f"pairs.{suffix}", pair_rows())
    queries = write_rows(tmp_path / f"queries.{suffix}", query_rows())
    by_pair = [row._replace(line=0) for row in iter_pair_rows(pairs, refuse)]
    by_query = [row._replace(line=0) for row in iter_query_rows(queries, refuse)]
    assert sorted(by_pair) == sorted(by_query)
    assert [row.query_id for row in by_query] == ["q2", "q2", "q1", "q1", "q1"]
    assert [(row.docid, row.score) for row in by_pair][:2] == [("d2", 9.0), ("d3", 1.0)]
    assert by_pair[0] == CandidateRow(
        0, "q2", "why does bread rise", "d2", Passage("Because of yeast. ", "Bread"), 9.0
    )


@pytest.mark.parametrize("suffix", ["tsv", "tsv.gz"])
def test_pairs_are_read_from_tsv_with_a_header(suffix: str, tmp_path: Path) -> None:
    header = {name: name for name in PAIR}
    path = write_rows(tmp_path / f"pairs.{suffix}", [header, PAIR, PAIR | {"docid": "e", "text": ""}])
    assert list(iter_pair_rows(path, refuse)) == [
        EXPECTED[0]._replace(line=2),
        EXPECTED[0]._replace(line=3, docid="e", passage=Passage("", "Tides")),
    ]
    path = write_rows(tmp_path / f"bare.{suffix}", [PAIR])
    assert "has 6 columns and no header that says which is which, but " in str(refusal(iter_pair_rows, path))


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.TSV.gz", "a.Parquet"])
def test_pairs_are_read_from_any_table(name: str, tmp_path: Path) -> None:
    names = {"query_id": "QID", "docid": "pid", "text": "passage", "first_stage_score": "First-Stage-Score"}
    path = tmp_path / name
    path.write_bytes(content_of(name, [{names.get(field, field): value for field, value in PAIR.items()}]))
    assert [row._replace(line=1) for row in iter_pair_rows(path, refuse)] == EXPECTED[:1]


def test_candidates_are_read_from_a_json_array(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content_of("a.json", [QUERY]))
    assert list(iter_query_rows(path, refuse)) == EXPECTED


@pytest.mark.parametrize("absent", [{}, {"title": None, "titles": None}], ids=["left out", "null"])
def test_rows_may_lack_titles_and_scores(absent: Row, tmp_path: Path) -> None:
    pair = without(PAIR, "title", "first_stage_score") | absent
    query = without(QUERY, "titles", "first_stage_scores") | absent
    bare = [row._replace(passage=Passage(row.passage.text), score=None) for row in EXPECTED]
    assert list(iter_pair_rows(write_rows(tmp_path / "pairs.jsonl", [pair]), refuse)) == bare[:1]
    assert list(iter_query_rows(write_rows(tmp_path / "queries.jsonl", [query]), refuse)) == bare


def test_rows_may_have_numeric_ids_and_textual_scores(tmp_path: Path) -> None:
    pair = PAIR | {"query_id": 7, "docid": 8, "first_stage_score": "2.5"}
    path = write_rows(tmp_path / "pairs.jsonl", [pair])
    assert list(iter_pair_rows(path, refuse)) == [EXPECTED[0]._replace(query_id="7", docid="8")]


BAD_IN_BOTH: list[tuple[Row, str]] = [
    ({"query_id": None}, "`query_id` must be a string that is not empty, got None"),
    ({"query_id": "a b"}, "`query_id` 'a b' contains spaces, which a TREC run cannot hold"),
    ({"query_id": "\ud83d"}, "`query_id` '\\ud83d' contains a lone surrogate"),
    ({"query": None}, "`query` must be a string, got None"),
    ({"query": 7}, "`query` must be a string, got 7"),
    ({"query": " "}, "query 'q' is empty"),
]
BAD_PAIRS: list[tuple[Row, str]] = [
    *BAD_IN_BOTH,
    ({"docid": ""}, "`docid` must be a string that is not empty, got ''"),
    ({"docid": "half\udc00"}, "`docid` 'half\\udc00' contains a lone surrogate"),
    ({"text": None}, "`text` must be a string, got None"),
    ({"text": ["noon"]}, "`text` must be a string, got ['noon']"),
    ({"title": 1}, "`title` must be a string, got 1"),
    ({"first_stage_score": "high"}, "`first_stage_score` must be a finite number, got 'high'"),
    ({"first_stage_score": True}, "`first_stage_score` must be a finite number, got True"),
    ({"first_stage_score": [1]}, "`first_stage_score` must be a finite number, got [1]"),
    ({"first_stage_score": float("nan")}, "`first_stage_score` must be a finite number, got nan"),
    ({"first_stage_score": float("inf")}, "`first_stage_score` must be a finite number, got inf"),
    ({"first_stage_score": 10**400}, f"`first_stage_score` must be a finite number, got 1{'0' * 148}"),
]
BAD_QUERIES: list[tuple[Row, str]] = [
    *BAD_IN_BOTH,
    ({"docids": None}, "`docids` must be a list, got None"),
    ({"docids": "de"}, "`docids` must be a list, got 'de'"),
    ({"titles": "Tides"}, "`titles` must be a list, got 'Tides'"),
    ({"texts": []}, "its lists differ in length: {'docids': 2, 'titles': 2, 'texts': 0, 'first_stage_scores': 2}"),
    ({"titles": ["Tides"]}, "its lists differ in length: "),
    ({"docids": [], "texts": [], "titles": [], "first_stage_scores": []}, "`docids` is empty"),
    ({"docids": ["d", None]}, "`docid` must be a string that is not empty, got None"),
    ({"texts": ["noon", None]}, "`text` must be a string, got None"),
    ({"first_stage_scores": [1, "low"]}, "`first_stage_score` must be a finite number, got 'low'"),
]


@pytest.mark.parametrize(("change", "problem"), BAD_PAIRS)
def test_bad_pair_is_reported_with_its_line_and_problem(change: Row, problem: str, tmp_path: Path) -> None:
    refused(iter_pair_rows, tmp_path / "rows.jsonl", PAIR, change, problem, EXPECTED[:1])


@pytest.mark.parametrize(("change", "problem"), BAD_QUERIES)
def test_bad_query_row_is_reported_and_skipped_as_a_whole(change: Row, problem: str, tmp_path: Path) -> None:
    refused(iter_query_rows, tmp_path / "rows.jsonl", QUERY, change, problem, EXPECTED)


def refused(read: Read, path: Path, good: Row, change: Row, problem: str, expected: list[CandidateRow]) -> None:
    """A bad row between good ones is passed to `on_bad` with its line, or raised by `refuse`."""
    write_rows(path, [good, good | change, good])
    bad: list[tuple[InvalidFile, Any]] = []
    rows = list(read(path, lambda error, row: bad.append((error, row))))
    assert rows == expected + [row._replace(line=3) for row in expected]
    ((error, row),) = bad
    assert (error.path, error.line) == (str(path), 2)
    assert error.problem.startswith(problem)
    assert row.keys() == good.keys()
    assert str(refusal(read, path)).startswith(f"{path}:2: {problem}")
