"""`reranker rerank`: the rows of its files become candidates by the rules of `reranker.documents`."""

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.rerank import _read
from reranker.errors import InvalidFile
from reranker.ir.formats import Format
from reranker.types import Candidate, Passage
from tests.reranker.ir.files import EVERY_FORMAT, GZIPPED, content_of


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


def read(path: Path, content: str | bytes, file_format: Format | None = None) -> list[Candidate]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(_read(path, file_format))


PASSAGES = [
    {"id": "a", "title": "Tides", "text": 'High tide, "noon".'},
    {"id": "b", "title": "", "text": "Bread"},
]
CANDIDATES = [Candidate(Passage('High tide, "noon".', "Tides"), "a"), Candidate(Passage("Bread"), "b")]


@pytest.mark.parametrize("name", [*EVERY_FORMAT, *GZIPPED, "a.JSONL", "a.Csv", "a.TSV.gz", "a.PARQUET"])
def test_every_table_gives_the_same_candidates(name: str, tmp_path: Path) -> None:
    assert read(tmp_path / name, content_of(name, PASSAGES)) == CANDIDATES


@pytest.mark.parametrize("name", ["a.txt", "a", "a.txt.gz", "a.md"])
def test_other_files_are_lines_of_text_gzipped_or_not(name: str, tmp_path: Path) -> None:
    content = "\ufeffone\ttwo, three\r\n\r\n[1] {four}\n".encode()
    texts = read(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert texts == [
        Candidate(Passage("one\ttwo, three"), f"{tmp_path / name}:1"),
        Candidate(Passage("[1] {four}"), f"{tmp_path / name}:3"),
    ]


@pytest.mark.parametrize(
    ("written", "guess"), [("a.jsonl", "jsonl"), ("a.json", "json"), ("a.csv", "csv"), ("a.tsv", "tsv")]
)
@pytest.mark.parametrize("name", ["passages", "passages.txt", "passages.log"])
def test_table_that_is_not_named_so_is_refused_with_what_to_say(
    written: str, guess: str, name: str, tmp_path: Path
) -> None:
    content = content_of(written, PASSAGES)
    with pytest.raises(InvalidFile, match=rf"{name}:2: looks like {guess}: say --format {guess}, or --format text"):
        read(tmp_path / name, b"\n" + content)
    assert read(tmp_path / name, content, Format(guess)) == CANDIDATES
    assert len(read(tmp_path / name, content, Format.TEXT)) == len(content.splitlines())


@pytest.mark.parametrize("names", [("id", "text", "title"), ("pid", "passage", "title"), ("ID", "contents", "TITLE")])
def test_title_and_text_are_told_apart_by_the_header_alone(names: tuple[str, str, str], tmp_path: Path) -> None:
    row = "a\tHigh tide\tTides\n"
    expected = [Candidate(Passage("High tide", "Tides"), "a")]
    assert read(tmp_path / "a.tsv", "\t".join(names) + "\n" + row) == expected
    with pytest.raises(InvalidFile, match=r"a\.tsv:1: has 3 columns and no header that says which is which"):
        read(tmp_path / "a.tsv", row)


def test_parquet_from_a_pipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"PAR1"))))
    with pytest.raises(InvalidFile, match="stdin: parquet cannot be read from a pipe"):
        list(_read(Path("-"), Format.PARQUET))


def test_title_of_another_spelling_is_read(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", '{"Title": "t", "Text": "a", "ID": "x"}') == [Candidate(Passage("a", "t"), "x")]


def test_ms_marco_tsv_has_ids_and_texts(tmp_path: Path) -> None:
    assert read(tmp_path / "collection.tsv", '7\tA "quoted" text\n') == [Candidate(Passage('A "quoted" text'), "7")]
