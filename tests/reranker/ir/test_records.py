"""Rows of files: every format, gzipped or not, local or in an object store; errors without credentials."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from reranker.errors import InvalidFile
from reranker.ir.records import Record, iter_lines, iter_records, opened_raw, redacted, suffixes

FIELDS = ("_id", "title", "text")
FORMS = {2: ("_id", "text"), 3: ("_id", "title", "text")}
ROWS = [
    {"_id": "1", "title": "Tides", "text": "  High tide is at noon. "},
    {"_id": "2", "title": "", "text": "Línea «tres»"},
    {"_id": "3", "title": "Nothing", "text": ""},
]
NUMBERED = list(enumerate(ROWS, 1))


def content_of(name: str, rows: list[Record]) -> bytes:
    """The rows as the bytes of a file with this name."""
    if ".parquet" in name:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        contents: bytes = sink.getvalue().to_pybytes()
        return contents
    if ".tsv" in name:
        lines = ["\t".join(str(value) for value in row.values()) for row in rows]
        if "header" in name:
            lines.insert(0, "\t".join(rows[0]))
    else:
        lines = [json.dumps(row) for row in rows]
    text = "".join(f"{line}\n" for line in lines).encode()
    return gzip.compress(text, mtime=0) if name.endswith(".gz") else text


def text_file(directory: Path, name: str, content: str | bytes) -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(location: Path | str, **options: Any) -> list[tuple[int, Record]]:
    return list(iter_records(location, FIELDS, **({"tsv": FORMS} | options)))


def error_of(call: Callable[[], object]) -> InvalidFile:
    with pytest.raises(InvalidFile) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.tsv", "a.tsv.gz", "a.parquet", "a.b.jsonl"])
def test_every_file_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    assert read(text_file(tmp_path, name, content_of(name, ROWS))) == NUMBERED


@pytest.mark.parametrize("name", ["header.tsv", "header.tsv.gz"])
def test_tsv_header_names_columns_in_any_order_and_is_not_a_row(name: str, tmp_path: Path) -> None:
    reordered = [dict(reversed(row.items())) for row in ROWS]
    path = text_file(tmp_path, name, content_of(name, reordered))
    assert read(path) == [(line, row) for line, row in enumerate(reordered, 2)]
    assert read(path, tsv=None) == read(path), "with a header the form is not needed"


def test_tsv_without_header_is_read_by_its_number_of_columns(tmp_path: Path) -> None:
    two = [{"_id": row["_id"], "text": row["text"]} for row in ROWS]
    assert read(text_file(tmp_path, "two.tsv", content_of("two.tsv", two))) == list(enumerate(two, 1))
    error = error_of(lambda: read(text_file(tmp_path, "four.tsv", "1\ta\tb\tc\n")))
    expected = "has 4 columns, expected `_id text` or `_id title text`, or a header line with some of "
    assert str(error) == f"{tmp_path / 'four.tsv'}:1: {expected}_id, title, text"
    error = error_of(lambda: read(tmp_path / "two.tsv", tsv=None))
    assert str(error).endswith(":1: has 2 columns, expected a header line with some of _id, title, text")


def test_parquet_reader_returns_only_the_requested_columns(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.parquet", content_of("a.parquet", [row | {"more": 1} for row in ROWS]))
    assert read(path) == NUMBERED


def test_blank_lines_are_skipped_but_numbered_and_line_endings_are_stripped(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.txt", "\ufeffone\r\n\r\n \t \n two\t\nthree")
    assert list(iter_lines(path)) == [(1, "one"), (4, " two\t"), (5, "three")]


MIXED = b'{"_id": "1"}\n{"_id": \n\n["1"]\ncaf\xe9\n{"_id": "2"}\n'


def test_bad_rows_go_to_on_bad_and_the_others_are_read(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.jsonl", MIXED)
    bad: list[tuple[InvalidFile, object]] = []
    rows = read(path, on_bad=lambda error, row: bad.append((error, row)))
    assert rows == [(1, {"_id": "1"}), (6, {"_id": "2"})]
    assert [(error.path, error.line, error.problem.partition(":")[0], row) for error, row in bad] == [
        (str(path), 2, "is not JSON", '{"_id": '),
        (str(path), 4, "must be one JSON object per line", '["1"]'),
        (str(path), 5, "is not UTF-8", "caf\ufffd\n"),
    ]


def test_bad_row_without_on_bad_raises(tmp_path: Path) -> None:
    rows = iter_records(text_file(tmp_path, "a.jsonl", MIXED), FIELDS)
    assert next(rows) == (1, {"_id": "1"})
    assert str(error_of(lambda: next(rows))).startswith(f"{tmp_path / 'a.jsonl'}:2: is not JSON: ")


def test_tsv_row_with_a_wrong_number_of_columns_is_bad(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.tsv", "1\ta\n2\tb\tc\n3\n4\td\n")
    bad: list[InvalidFile] = []
    rows = read(path, on_bad=lambda error, row: bad.append(error))
    assert rows == [(1, {"_id": "1", "text": "a"}), (4, {"_id": "4", "text": "d"})]
    assert [str(error) for error in bad] == [
        f"{path}:2: has 3 columns where 2 are expected: _id text",
        f"{path}:3: has 1 columns where 2 are expected: _id text",
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.tsv", "a.parquet"])
def test_missing_or_empty_file_raises_even_with_on_bad(name: str, tmp_path: Path) -> None:
    def ignore(error: InvalidFile, row: object) -> None: ...

    assert str(error_of(lambda: read(tmp_path / name, on_bad=ignore))) == f"{tmp_path / name}: no such file"
    path = text_file(tmp_path, name, content_of(name, []))
    assert str(error_of(lambda: read(path, on_bad=ignore))) == f"{path}: is empty"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.tsv.gz", "a.parquet"])
def test_truncated_file_raises_even_with_on_bad(name: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, name, content_of(name, ROWS * 200)[:-30])
    error = error_of(lambda: read(path, on_bad=lambda error, row: None))
    assert str(error).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("s3://key:secret@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("s3://key:secret@bucket/at@noon.jsonl", "s3://bucket/at@noon.jsonl"),
        ("s3://key:sec/r+et@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("gs://secret@bucket/a.jsonl", "gs://bucket/a.jsonl"),
        ("abfs://host/a.tsv?sv=1&sig=secret&se=2", "abfs://host/a.tsv?sv=1&sig=…&se=2"),
        ("s3://bucket/at@noon.jsonl", "s3://bucket/at@noon.jsonl"),
        ("hdfs://host:8020/at@noon.jsonl", "hdfs://host:8020/at@noon.jsonl"),
        ("at@noon.jsonl", "at@noon.jsonl"),
    ],
)
def test_redacted_location_drops_credentials_and_keeps_the_rest(location: str, shown: str) -> None:
    assert redacted(location) == shown


@pytest.mark.parametrize("suffix", ["jsonl", "tsv.gz", "parquet"])
@pytest.mark.parametrize("start", ["nothing://key:secret", "s3://key:sec/ret", f"s3://key:{'secret/' * 40}"])
def test_unsupported_url_is_refused_without_showing_its_password(start: str, suffix: str) -> None:
    error = error_of(lambda: read(f"{start}@bucket/a.{suffix}"))
    assert str(error).startswith(f"{start.partition(':')[0]}://bucket/a.{suffix}: cannot be read")
    assert "sec" not in str(error)
    assert "sec" not in repr(error.args)
    assert error.__cause__ is None
    assert error.__suppress_context__, "the password must not appear in a traceback either"


def test_suffixes_ignore_the_query_of_a_url() -> None:
    assert suffixes("s3://a.parquet/b.jsonl.gz?region=x.y") == [".jsonl", ".gz"]
    assert suffixes(Path("odd?.tsv")) == suffixes("odd?.tsv") == [".tsv"]


@pytest.fixture(scope="module")
def s3() -> Iterator[Callable[[str], str]]:
    """An S3 server with ROWS in every format; returns a function from an object's name to its URL."""
    server_of = pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = server_of.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            options = f"scheme=http&endpoint_override={host}:{port}&region=us-east-1"
            store, _ = pa.fs.FileSystem.from_uri(f"s3://key:secret@bucket/?{options}&allow_bucket_creation=true")
            store.create_dir("bucket")
            for name in ("a.jsonl", "a.jsonl.gz", "a.tsv", "a.tsv.gz", "header.tsv", "a.parquet"):
                with store.open_output_stream(f"bucket/in/{name}", compression=None) as stream:
                    stream.write(content_of(name, ROWS))
            with store.open_output_stream("bucket/in/mixed.jsonl") as stream:
                stream.write(MIXED)
            yield lambda name: f"s3://key:secret@{name}?{options}"
        finally:
            server.stop()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.tsv", "a.tsv.gz", "a.parquet"])
def test_object_store_gives_the_same_rows_as_local_files(name: str, s3: Callable[[str], str]) -> None:
    assert read(s3(f"bucket/in/{name}")) == NUMBERED
    with opened_raw(s3(f"bucket/in/{name}")) as file:
        assert file.read() == content_of(name, ROWS)
    assert [row for _, row in read(s3("bucket/in/header.tsv"))] == ROWS


@pytest.mark.parametrize("name", ["bucket/in/no.jsonl", "bucket/in/no.jsonl.gz", "bucket/no.parquet", "none/a.tsv"])
def test_missing_object_is_an_error_without_the_password(name: str, s3: Callable[[str], str]) -> None:
    error = error_of(lambda: read(s3(name)))
    assert str(error).startswith(f"s3://{name}?")
    assert str(error).endswith(": no such file")
    assert "secret" not in str(error)


def test_bad_row_of_an_object_is_reported_without_the_password(s3: Callable[[str], str]) -> None:
    bad: list[InvalidFile] = []
    assert [line for line, _ in read(s3("bucket/in/mixed.jsonl"), on_bad=lambda error, row: bad.append(error))] == [
        1,
        6,
    ]
    assert [error.line for error in bad] == [2, 4, 5]
    assert all(error.path.startswith("s3://bucket/in/mixed.jsonl?") for error in bad)
