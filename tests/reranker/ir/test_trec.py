"""Queries, corpora, runs and qrels: what is read, what is refused with which error, and how runs are written."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import InvalidFile
from reranker.ir.trec import (
    iter_corpus,
    read_qrels,
    read_queries,
    read_run,
    strictly_decreasing,
    write_run,
)
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
        ('{"_id": "1", "text": "a"}'.encode("utf-16"), ":1: is not UTF-8"),
        ('{"text": "a"}', ":1: `_id` must be a string that is not empty, got None"),
        ('{"_id": "", "text": "a"}', ":1: `_id` must be a string that is not empty, got ''"),
        ('{"_id": 1.5, "text": "a"}', ":1: `_id` must be a string that is not empty, got 1.5"),
        ('{"_id": true, "text": "a"}', ":1: `_id` must be a string that is not empty, got True"),
        ('{"_id": "a b", "text": "a"}', ":1: `_id` 'a b' contains spaces"),
        ('{"_id": " a", "text": "a"}', ":1: `_id` ' a' contains spaces"),
        ('{"_id": "a\\n", "text": "a"}', ":1: `_id` 'a\\n' contains spaces"),
        ('{"_id": "1"}', ":1: `text` must be a string, got None"),
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
    with pytest.raises(InvalidFile, match="is empty"):
        read_queries(write_parquet(tmp_path / "none", []))
    with pytest.raises(InvalidFile, match=":1: `_id` must be"):
        read_queries(write_parquet(tmp_path / "other", [{"query": "a"}]))


def test_byte_order_mark_and_crlf_are_stripped(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    assert read_queries(text_file(tmp_path, bom + b'{"_id": "1", "text": "a"}\r\n')) == {"1": "a"}
    assert read_run(text_file(tmp_path, bom + b"q Q0 d 1 1.5 tag\r\n")) == {"q": ["d"]}
    assert read_qrels(text_file(tmp_path, bom + b"query-id\tcorpus-id\tscore\r\nq\td\t1\r\n")) == {"q": {"d": 1}}


def test_lone_surrogate_becomes_the_replacement_character(tmp_path: Path) -> None:
    path = text_file(tmp_path, '{"_id": "1", "title": "\\udc00", "text": "cut \\ud83d"}')
    assert list(iter_corpus(path)) == [("1", Passage("cut \ufffd", "\ufffd"))]


def test_run_is_sorted_by_score_with_ties_in_file_order(tmp_path: Path) -> None:
    lines = [
        "b Q0 d5 1 0.5 t",
        "a Q0 d9 1 -2 t",
        "b Q0 d2 2 7e1 t",
        "b\tQ0\td8\t3\t0.5\tt",
        "b Q0 d1 4 0.5 t",
        "a Q0 d1 2 -1 t",
    ]
    run = read_run(text_file(tmp_path, "\n".join(lines)))
    assert run == {"b": ["d2", "d5", "d8", "d1"], "a": ["d1", "d9"]}
    assert list(run) == ["b", "a"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q Q0 d2 2 nan t", "score 'nan' is not a finite number"),
        ("q Q0 d2 2 -inf t", "score '-inf' is not a finite number"),
        ("q Q0 d2 2 1e999 t", "score '1e999' is not a finite number"),
        ("q Q0 d2 2 high t", "score 'high' is not a finite number"),
        ("q Q0 d1 2 0.5 t", "passage 'd1' occurs twice for query 'q'"),
        ("q d2 0.5", "has 3 columns, expected 6: qid Q0 docid rank score tag"),
        ("q Q0 d 2 2 0.5 t", "has 7 columns, expected 6: qid Q0 docid rank score tag"),
    ],
)
def test_bad_line_of_a_run_is_refused(line: str, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, f"q Q0 d1 1 1.0 t\n\n{line}\n", "run.trec")
    with pytest.raises(InvalidFile) as caught:
        read_run(path)
    assert str(caught.value) == f"{path}:3: {problem}"


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
        "q1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
        "q1 0 d1 2\nq1 0 d2 0\nq2 Q0 d1 -1\n",
    ],
    ids=["BEIR", "BEIR without header", "TREC"],
)
def test_beir_and_trec_qrels_are_read(content: str, tmp_path: Path) -> None:
    qrels = read_qrels(text_file(tmp_path, content, "qrels"))
    assert qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("q d\n", ":1: expected `query-id corpus-id score` or `qid 0 docid grade`"),
        ("q Q0 d 1 0.5 t\n", ":1: expected `query-id corpus-id score` or `qid 0 docid grade`"),
        ("q d 1\nq d 0\n", ":2: passage 'd' occurs twice for query 'q'"),
        ("q d 0.5\n", ":1: grade 0.5 is not a whole number"),
        ("q d relevant\n", ":1: grade 'relevant' is not a finite number"),
        ("query-id corpus-id score\n", ": has no judgements"),
    ],
)
def test_bad_qrels_are_refused(content: str, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content, "qrels.tsv")
    with pytest.raises(InvalidFile) as caught:
        read_qrels(path)
    assert str(caught.value) == f"{path}{problem}"


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
LARGEST = float(np.finfo(np.float32).max)
LOGITS = st.lists(
    FLOATS | st.sampled_from([0.0, -0.0, 1.0, 1e-45, -1e-45, LARGEST, -LARGEST]), min_size=1, max_size=40
).map(lambda values: np.array(sorted(values, reverse=True), dtype=np.float32))


@given(logits=LOGITS)
def test_scores_of_a_written_run_strictly_decrease_and_keep_its_order(
    logits: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.trec"
    docids = [f"d{n}" for n in np.random.default_rng(0).permutation(len(logits))]
    write_run(path, [("q", docids, logits), ("p", docids[:1], logits[:1])], tag="us")

    columns = [line.split(" ") for line in path.read_text().splitlines()]
    assert [line[:4] for line in columns[:-1]] == [
        ["q", "Q0", docid, str(rank)] for rank, docid in enumerate(docids, 1)
    ]
    scores = np.array([line[4] for line in columns[:-1]], dtype=np.float32)
    assert np.isfinite(scores).all()
    assert (np.diff(scores.astype(np.float64)) < 0).all()
    assert read_run(path) == {"q": docids, "p": docids[:1]}


@given(logits=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
def test_strictly_decreasing_scores_change_only_ties_and_those_minimally(logits: list[float]) -> None:
    decreasing = np.array(sorted(logits, reverse=True), dtype=np.float32)
    scores = strictly_decreasing(decreasing)
    unique = decreasing[np.append(True, np.diff(decreasing) < 0)]
    if len(unique) == len(decreasing):
        assert scores.tolist() == decreasing.tolist()
    assert (scores <= decreasing).all()
    assert (decreasing - scores <= len(decreasing) * np.spacing(np.abs(decreasing).max())).all()


def test_run_with_more_docids_than_scores_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_run(tmp_path / "run", [("q", ["a", "b"], np.array([1.0], dtype=np.float32))], tag="t")
    assert list(tmp_path.iterdir()) == []
