"""Queries and corpora: what is read, and what is refused with which error."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reranker.errors import InvalidFile
from reranker.ir.texts import iter_corpus, read_queries
from reranker.types import Passage

ROWS = [{"_id": 7, "title": "Tides", "text": "A table."}, {"_id": 8, "title": None, "text": "Línea"}]

Write = Callable[[Path, list[dict]], Path]


def write_jsonl(stem: Path, rows: list[dict]) -> Path:
    path = stem.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_gzip(stem: Path, rows: list[dict]) -> Path:
    path = stem.with_suffix(".jsonl.gz")
    path.write_bytes(gzip.compress(write_jsonl(stem, rows).read_bytes()))
    return path


def write_parquet(stem: Path, rows: list[dict]) -> Path:
    path = stem.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


every_format = pytest.mark.parametrize("write", [write_jsonl, write_gzip, write_parquet])


def text_file(tmp_path: Path, content: str | bytes, name: str = "file.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@every_format
def test_every_file_format_gives_the_same_rows_with_ids_as_text(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "rows", ROWS)
    assert list(iter_corpus(path)) == [("7", Passage("A table.", "Tides")), ("8", Passage("Línea", ""))]
    assert read_queries(path) == {"7": "A table.", "8": "Línea"}


@every_format
def test_duplicate_ids_are_refused_even_as_number_and_text(write: Write, tmp_path: Path) -> None:
    first, second = ({"_id": 7, "text": "a"}, {"_id": 7 if write is write_parquet else "7", "text": "b"})
    path = write(tmp_path / "rows", [first, second])
    with pytest.raises(InvalidFile, match=r":2: query '7' occurs twice"):
        read_queries(path)
    with pytest.raises(InvalidFile, match=r":2: passage '7' occurs twice"):
        list(iter_corpus(path))


def test_parquet_corpus_is_streamed_and_its_other_columns_are_not_read(tmp_path: Path) -> None:
    texts: list[str | None] = [f"text {n}" for n in range(10_000)]
    texts[9_000] = None
    no_datetime = pa.array([10**18] * len(texts), pa.timestamp("us"))
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"_id": range(len(texts)), "text": texts, "seen": no_datetime}), path)
    passages = iter_corpus(path)
    for n in range(9_000):
        assert next(passages) == (str(n), Passage(f"text {n}"))
    with pytest.raises(InvalidFile, match=r":9001: `text` must be a string, got None"):
        next(passages)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"_id": "1", "text": "a"}\n{"_id": \n', ":2: is not JSON"),
        ('{"_id": "1", "text": "a"}\n\n["1", "a"]\n', ":3: must be one JSON object per line"),
        ("[" * 100_000, ":1: is not JSON"),
        ("", ": is empty"),
        ("\n \n", ": is empty"),
        ('{"_id": "1", "text": "caf\xe9"}'.encode("latin-1"), ":1: is not UTF-8"),
        ('{"_id": "1", "text": "a"}'.encode("utf-16"), ": is UTF-16: convert it"),
        ('{"text": "a"}', ":1: has no `_id` or `id` or `query_id` or `qid`; these columns are there: 'text'"),
        ('{"_id": "", "text": "a"}', ":1: `_id` must be a string that is not empty, got ''"),
        ('{"_id": 1.5, "text": "a"}', ":1: `_id` must be a string that is not empty, got 1.5"),
        ('{"_id": true, "text": "a"}', ":1: `_id` must be a string that is not empty, got True"),
        ('{"_id": "a b", "text": "a"}', ":1: `_id` 'a b' contains spaces"),
        ('{"_id": " a", "text": "a"}', ":1: `_id` ' a' contains spaces"),
        ('{"_id": "a\\n", "text": "a"}', ":1: `_id` 'a\\n' contains spaces"),
        ('{"_id": "1"}', ":1: has no `text` or `query` or `question`; these columns are there: '_id'"),
        ('{"_id": "1", "text": ["a"]}', ":1: `text` must be a string, got ['a']"),
        ('{"_id": "1", "text": " \\t"}', ":1: query '1' is empty"),
    ],
)
def test_error_in_a_query_file_names_its_line(content: str | bytes, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content)
    with pytest.raises(InvalidFile) as caught:
        read_queries(path)
    assert str(caught.value).startswith(f"{path}{problem}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no.jsonl", "no.jsonl.gz", "no.parquet", "no/where.jsonl"])
def test_missing_file_is_a_one_line_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile) as caught:
        read_queries(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: no such file"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_directory_is_refused_as_a_query_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InvalidFile, match="cannot be read"):
        read_queries(tmp_path / name)


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + bytes(byte ^ 0xFF for byte in content[at : at + 4]) + content[at + 4 :]


PACKED = gzip.compress(b"".join(b'{"_id": %d, "text": "a"}\n' % n for n in range(1000)))


@pytest.mark.parametrize("content", [PACKED[:200], damaged(PACKED, 12), b"{}"], ids=["cut", "damaged", "plain"])
def test_damaged_gzip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"rows\.jsonl\.gz: cannot be read"):
        read_queries(text_file(tmp_path, content, "rows.jsonl.gz"))


def test_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    not_utf8 = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"_id": ["1"], "text": not_utf8}), tmp_path / "latin.parquet")
    text_file(tmp_path, "not a parquet file", "text.parquet")
    for name in ("latin.parquet", "text.parquet"):
        with pytest.raises(InvalidFile, match=f"{name}: cannot be read as parquet"):
            read_queries(tmp_path / name)
    with pytest.raises(InvalidFile, match="these columns are there: none"):
        read_queries(write_parquet(tmp_path / "none", []))
    with pytest.raises(InvalidFile, match=r"has no `_id` or .*; these columns are there: 'query'"):
        read_queries(write_parquet(tmp_path / "other", [{"query": "a"}]))


def test_lone_surrogate_becomes_the_replacement_character(tmp_path: Path) -> None:
    path = text_file(tmp_path, '{"_id": "1", "title": "\\udc00", "text": "cut \\ud83d"}')
    assert list(iter_corpus(path)) == [("1", Passage("cut \ufffd", "\ufffd"))]
