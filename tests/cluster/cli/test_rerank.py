"""`reranker rerank`: the rows of its files become candidates by the rules of `reranker.documents`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.rerank import _read
from reranker.errors import InvalidFile
from reranker.types import Candidate, Passage


def test_jsonl_rows_take_their_id_from_either_field_or_from_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"text": "a", "url": "u"}\n\n{"id": "x", "title": "t", "text": "b"}\n{"_id": 3, "id": "y", "text": "c"}\n'
    )
    assert list(_read(path)) == [
        Candidate(Passage("a"), f"{path}:1"),
        Candidate(Passage("b", "t"), "x"),
        Candidate(Passage("c"), "3"),
    ]


def test_parquet_rows_with_null_id_and_title_are_candidates(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": ["x", None], "title": ["t", None], "text": ["a", "b"]}), path)
    assert list(_read(path)) == [Candidate(Passage("a", "t"), "x"), Candidate(Passage("b"), f"{path}:2")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"title": "t"}', r"has no `text` or .*; these columns are there: 'title'"),
        ('{"text": 3}', r"document\.text: must be a string, got int"),
        ('{"text": "a", "id": [1]}', r"document\.id: must be a string, got list"),
    ],
)
def test_wrong_row_is_named_by_file_and_line(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "a"}}\n{row}\n')
    with pytest.raises(InvalidFile, match=rf"rows\.jsonl:2: {problem}"):
        list(_read(path))
