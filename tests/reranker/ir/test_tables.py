"""Rows of files: every format, gzipped or not, local or in an object store; what is ambiguous is refused."""

import contextlib
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reranker.errors import InvalidFile
from reranker.ir.formats import Format
from reranker.ir.json_rows import Record
from reranker.ir.locations import opened_raw
from reranker.ir.tables import iter_records
from reranker.ir.texts import PASSAGES
from tests.reranker.ir.files import EVERY_FORMAT, GZIPPED, content_of, text_file
from tests.servers import s3_server

ROWS = [
    {"_id": "1", "title": "Tides", "text": "  High tide is at noon. "},
    {"_id": "2", "title": "", "text": 'Línea «tres», "4\tcinco"\nseis'},
    {"_id": "3", "title": "Nothing", "text": ""},
]
PLAIN = [ROWS[0], {"_id": "2", "title": "", "text": 'Línea «tres», "4"'}, ROWS[2]]  # as any tsv can hold them
SPELLINGS = ["a.JSONL", "a.Parquet", "a.TSV.GZ", "a.CSV", "a.JSON", "a.b.jsonl", "a.csv.jsonl"]


def read(location: Path | str, **options: Any) -> list[tuple[int, Record]]:
    return list(iter_records(location, PASSAGES, **options))


def rows_of(location: Path | str, **options: Any) -> list[Record]:
    return [row for _, row in read(location, **options)]


def error_of(call: Callable[[], object]) -> InvalidFile:
    with pytest.raises(InvalidFile) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", [*EVERY_FORMAT, *GZIPPED, *SPELLINGS])
def test_every_file_format_gives_the_same_rows_in_any_case_of_its_ending(name: str, tmp_path: Path) -> None:
    assert rows_of(text_file(tmp_path, content_of(name, PLAIN), name)) == PLAIN


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
@pytest.mark.parametrize(
    "change",
    [gzip.compress, b"\xef\xbb\xbf".__add__, b"\n \n".__add__, lambda content: content.replace(b"\r", b"")],
    ids=["gzip without .gz", "byte order mark", "blank lines first", "LF"],
)
def test_what_surrounds_the_rows_changes_nothing(name: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    assert rows_of(text_file(tmp_path, change(content_of(name, PLAIN)), name)) == PLAIN


# No lone surrogates, which no UTF-8 file can hold. Whatever else: separators, quotes, line endings, NUL.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text('",\t\n\r a', max_size=8)
TABLES = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6).map(
    lambda texts: [{"_id": f"d{n}", "title": title, "text": text} for n, (title, text) in enumerate(texts)]
)


@pytest.mark.parametrize("name", [*EVERY_FORMAT, *GZIPPED])
@given(table=TABLES, order=st.permutations(["_id", "title", "text"]))
@example(table=ROWS, order=["_id", "title", "text"])
def test_any_table_is_read_as_it_was_written(
    name: str, table: list[Record], order: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [{column: row[column] for column in order} for row in table]
    path = text_file(tmp_path_factory.getbasetemp(), content_of(name, rows), name)
    texts = [text for row in rows for text in (row["title"], row["text"])]
    if ".tsv" in name and any("\t" in text and "\n" in text for text in texts):
        assert "a quote that is not closed" in str(error_of(lambda: read(path)))  # two rows of raw text look so too
    else:
        assert rows_of(path) == table


@pytest.mark.parametrize("name", [*EVERY_FORMAT, "a.jsonl.gz", "a.txt"])
@given(content=st.binary(max_size=60) | st.text(',\t"{}[]:\n\r\ufeff_idtext 1', max_size=40).map(str.encode))
def test_any_bytes_are_rows_or_a_clear_error(
    name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = text_file(tmp_path_factory.getbasetemp(), content, name)
    with contextlib.suppress(InvalidFile):
        assert read(path, bare=True)
        return
    assert str(error_of(lambda: read(path, bare=True))).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"_id": "1", "text": "a"}\n', "has no ending that says its format, and looks like jsonl: name it .jsonl"),
        ('[\n{"_id": "1", "text": "a"}]', "has no ending that says its format, and looks like json: name it"),
        ("id\ttext\ttitle\n1\ta\tb\n", "has no ending that says its format, and looks like tsv: name it"),
        ('"Title","Text"\nb,a\n', "has no ending that says its format, and looks like csv: name it"),
        ("1\ta\n", "has no ending that says its format: name it .jsonl, .json, .csv, .tsv or .parquet"),
        ("", "is empty"),
    ],
)
@pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.gz.1", "rows.data.gz"])
def test_file_whose_name_says_no_format_is_refused_with_what_to_name_it(
    name: str, content: str, problem: str, tmp_path: Path
) -> None:
    data = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
    path = text_file(tmp_path, data, name)
    assert str(error_of(lambda: read(path))).startswith(f"{path}: {problem}")


@pytest.mark.parametrize(
    ("written", "name", "problem"),
    [
        ("a.jsonl", "a.tsv", ":1: looks like jsonl: name it .jsonl"),
        ("a.jsonl", "a.csv", ":1: looks like jsonl: name it .jsonl"),
        ("a.json", "a.csv", ":1: looks like json: name it .json"),
        ("a.csv", "a.tsv", ":1: looks like csv: name it .csv"),
        ("a.tsv", "a.csv", ":1: looks like tsv: name it .tsv"),
        ("a.tsv", "a.jsonl", ":1: is not JSON"),
        ("a.json", "a.jsonl", ":1: is not JSON"),
        ("a.jsonl", "a.parquet", ": cannot be read as parquet"),
        ("a.jsonl", "a.jsonl.gz", ": cannot be read: Not a gzipped file"),
        ("a.parquet", "a.jsonl", ": is a parquet file: name it .parquet"),
        ("a.parquet", "a.parquet.gz", ": cannot be read as parquet inside gzip: unpack it with gunzip"),
    ],
)
def test_content_that_contradicts_the_name_is_refused(written: str, name: str, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content_of(written, PLAIN), name)
    assert str(error_of(lambda: read(path, bare=True))).startswith(f"{path}{problem}")


def test_one_line_array_named_jsonl_is_refused_with_its_right_name(tmp_path: Path) -> None:
    path = text_file(tmp_path, '[{"_id": "1", "text": "a"}]\n', "a.jsonl")
    assert "an array of objects has the ending .json" in str(error_of(lambda: read(path)))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"docnum": "1", "text": "a"}, "has no `_id` or `id` or .*; these columns are there: 'docnum', 'text'"),
        (
            {"_id": "1", "abstract": "a"},
            "has no `text` or `contents` or .*; these columns are there: '_id', 'abstract'",
        ),
        ({"_id": "1", "Title": "b", "title": "c", "text": "a"}, "has 'Title' and 'title', and only one can be the "),
        ({"_id": "1", "contents": "b", "body": "a"}, "has 'contents' and 'body', and only one can be the `text`"),
    ],
)
@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_columns_that_are_missing_or_not_certain_are_refused_by_name(
    name: str, row: Record, problem: str, tmp_path: Path
) -> None:
    path = text_file(tmp_path, content_of(name, [row]), name)
    with pytest.raises(InvalidFile, match=problem):
        read(path)


@pytest.mark.parametrize("name", EVERY_FORMAT)
@pytest.mark.parametrize(
    "names",
    [
        ("ID", "Title", "TEXT"),
        ("id", "title", "contents"),
        ("docid", " title ", "Passage"),
        ("doc-id", "title", "body"),
    ],
)
def test_usual_names_of_columns_are_known_in_any_case(name: str, names: tuple[str, ...], tmp_path: Path) -> None:
    rows = [dict(zip(names, row.values(), strict=True)) | {"url": "u"} for row in PLAIN]
    read_rows = rows_of(text_file(tmp_path, content_of(name, rows), name))
    assert [{column: row[column] for column in ("_id", "title", "text")} for row in read_rows] == PLAIN


def test_id_of_a_passage_is_preferred_to_that_of_its_document(tmp_path: Path) -> None:
    path = text_file(tmp_path, '{"pid": "p1", "passage": "a", "docid": "d1"}\n', "a.jsonl")
    assert [(row["_id"], row["text"]) for row in rows_of(path)] == [("p1", "a")]


def test_row_numbers_are_lines_of_text_and_rows_of_arrays(tmp_path: Path) -> None:
    for name, numbers in (
        ("a.jsonl", [1, 2, 3]),
        ("a.csv", [2, 3, 5]),
        ("a.json", [1, 2, 3]),
        ("a.parquet", [1, 2, 3]),
    ):
        path = text_file(tmp_path, content_of(name, ROWS), name)
        assert [number for number, _ in read(path)] == numbers


def test_parquet_reader_returns_only_the_known_columns(tmp_path: Path) -> None:
    path = text_file(tmp_path, content_of("a.parquet", [row | {"more": 1} for row in ROWS]), "a.parquet")
    assert rows_of(path) == ROWS


def test_format_may_be_given_instead_of_a_name(tmp_path: Path) -> None:
    path = text_file(tmp_path, content_of("a.csv", PLAIN), "rows.txt")
    assert rows_of(path, file_format=Format.CSV) == PLAIN


MIXED = b'{"_id": "1", "text": ""}\n{"_id": \n\n["1"]\ncaf\xe9\n{"id": "2", "text": ""}\n{"_id": "3"}\n'


def test_bad_rows_go_to_on_bad_and_the_others_are_read(tmp_path: Path) -> None:
    path = text_file(tmp_path, MIXED, "a.jsonl")
    bad: list[tuple[InvalidFile, object]] = []
    rows = read(path, on_bad=lambda error, row: bad.append((error, row)))
    assert rows == [(1, {"_id": "1", "text": ""}), (6, {"_id": "2", "text": ""})]
    assert [(error.path, error.line, error.problem[:14], row) for error, row in bad] == [
        (str(path), 2, "is not JSON: E", '{"_id": '),
        (str(path), 4, "must be one JS", '["1"]'),
        (str(path), 5, "is not UTF-8", "caf\ufffd\n"),
        (str(path), 7, "has no `text` ", {"_id": "3"}),
    ]


def test_bad_row_without_on_bad_raises(tmp_path: Path) -> None:
    rows = iter_records(text_file(tmp_path, MIXED, "a.jsonl"), PASSAGES)
    assert next(rows) == (1, {"_id": "1", "text": ""})
    assert str(error_of(lambda: next(rows))).startswith(f"{tmp_path / 'a.jsonl'}:2: is not JSON: ")


@pytest.mark.parametrize("name", [*EVERY_FORMAT, "a.jsonl.gz", "a.txt"])
def test_missing_or_empty_file_raises_even_with_on_bad(name: str, tmp_path: Path) -> None:
    def ignore(error: InvalidFile, row: object) -> None: ...

    assert str(error_of(lambda: read(tmp_path / name, on_bad=ignore))) == f"{tmp_path / name}: no such file"
    if name == "a.parquet":  # a table of no rows still has columns
        pq.write_table(
            pa.table({"_id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / name
        )
    else:
        text_file(tmp_path, content_of(name, []), name)
    assert str(error_of(lambda: read(tmp_path / name, on_bad=ignore))) == f"{tmp_path / name}: is empty"


@pytest.mark.parametrize("name", [*GZIPPED, "a.parquet"])
def test_truncated_file_raises_even_with_on_bad(name: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content_of(name, PLAIN * 200)[:-30], name)
    error = error_of(lambda: read(path, on_bad=lambda error, row: None))
    assert str(error).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize("suffix", ["jsonl", "tsv.gz", "parquet"])
@pytest.mark.parametrize("start", ["nothing://key:secret", "s3://key:sec/ret", f"s3://key:{'secret/' * 40}"])
def test_unsupported_url_is_refused_without_showing_its_password(start: str, suffix: str) -> None:
    error = error_of(lambda: read(f"{start}@bucket/a.{suffix}"))
    assert str(error).startswith(f"{start.partition(':')[0]}://bucket/a.{suffix}: cannot be read")
    assert "sec" not in str(error)
    assert "sec" not in repr(error.args)
    assert error.__cause__ is None
    assert error.__suppress_context__, "the password must not appear in a traceback either"


@pytest.mark.parametrize("name", ["a.jsonl", "a.TSV.gz", "a.parquet", "a.json"])
def test_file_url_gives_the_same_rows_as_its_path(name: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content_of(name, PLAIN), name)
    assert read(path.as_uri()) == read(path)


@pytest.fixture(scope="module")
def s3() -> Iterator[Callable[[str], str]]:
    """An S3 server with PLAIN in every format; returns a function from an object's name to its URL."""
    with s3_server() as options:
        store, _ = pa.fs.FileSystem.from_uri(f"s3://key:secret@bucket/?{options}&allow_bucket_creation=true")
        store.create_dir("bucket")
        for name in (*EVERY_FORMAT, *GZIPPED):
            with store.open_output_stream(f"bucket/in/{name}", compression=None) as stream:
                stream.write(content_of(name, PLAIN))
        with store.open_output_stream("bucket/in/mixed.jsonl") as stream:
            stream.write(MIXED)
        yield lambda name: f"s3://key:secret@{name}?{options}"


@pytest.mark.parametrize("name", [*EVERY_FORMAT, *GZIPPED])
def test_object_store_gives_the_same_rows_as_local_files(name: str, s3: Callable[[str], str]) -> None:
    assert rows_of(s3(f"bucket/in/{name}")) == PLAIN
    with opened_raw(s3(f"bucket/in/{name}")) as file:
        assert file.read() == content_of(name, PLAIN)


@pytest.mark.parametrize("name", ["bucket/in/no.jsonl", "bucket/in/no.jsonl.gz", "bucket/no.parquet", "none/a.tsv"])
def test_missing_object_is_an_error_without_the_password(name: str, s3: Callable[[str], str]) -> None:
    error = error_of(lambda: read(s3(name)))
    assert str(error).startswith(f"s3://{name}?")
    assert str(error).endswith(": no such file")
    assert "secret" not in str(error)


def test_bad_row_of_an_object_is_reported_without_the_password(s3: Callable[[str], str]) -> None:
    bad: list[InvalidFile] = []
    rows = read(s3("bucket/in/mixed.jsonl"), on_bad=lambda error, row: bad.append(error))
    assert [line for line, _ in rows] == [1, 6]
    assert [error.line for error in bad] == [2, 4, 5, 7]
    assert all(error.path.startswith("s3://bucket/in/mixed.jsonl?") for error in bad)
