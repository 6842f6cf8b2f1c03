"""json arrays are decoded element by element: as json.loads does, in little memory, with errors at their line."""

import io
import json
import tracemalloc
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import InvalidFile
from reranker.ir import json_rows
from reranker.ir.json_rows import array_records
from reranker.ir.lines import refuse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), min_size=1, max_size=8)


def stream(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(content)))


def read(content: bytes) -> list[tuple[int, Any]]:
    return list(array_records("a.json", stream(content), refuse))


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 2**20])
@given(rows=OBJECTS, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_array_is_decoded_as_a_whole_decoder_does_it(
    chunk_bytes: int, rows: list[dict[str, Any]], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        text = json.dumps(rows, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK_BYTES", chunk_bytes)
        assert read(b"\xef\xbb\xbf \n" + text + b"\n") == list(enumerate(json.loads(text), 1))


@pytest.mark.parametrize("chunk_bytes", [3, 2**20])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"a": 1},\n {"a": }]', "a.json:2: is not JSON: Expecting value"),
        (b'[{"a": 1}\n {"a": 2}]', "a.json:2: is not JSON: expected ',' in its array"),
        (b'[{"a": 1}', "a.json:1: is not JSON: expected ','"),
        (b'[{"a": "b', "a.json:1: is not JSON: Unterminated string"),
        (b'[{"a": 1}]\n{"a": 2}', "a.json:2: has text after the array"),
        (b'[{"a": 1},]', "a.json:1: is not JSON: Expecting value"),
        (b'[{"a": "\xe9"}]', "a.json:1: is not UTF-8"),
        (b'[{"a": 1}, ["b"]]', "a.json:2: must be an array of JSON objects"),
        (b"[]", "a.json: is empty"),
        (b"[" * 100_000, "a.json:1: is not JSON"),
        (b'[{"a": ' + b"1" * 5_000 + b"}]", "a.json:1: is not JSON: Exceeds the limit"),
    ],
)
def test_damaged_array_is_refused_by_line(
    chunk_bytes: int, content: bytes, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK_BYTES", chunk_bytes)
    with pytest.raises(InvalidFile) as caught:
        read(content)
    assert str(caught.value).startswith(problem)


def test_array_is_streamed() -> None:
    """12 MB on one line, of which one element and the window are in memory at a time."""
    content = json.dumps([{"_id": n, "text": "x" * 1_000} for n in range(12_000)]).encode()
    file = stream(content)
    tracemalloc.start()
    try:
        assert sum(1 for _ in array_records("a.json", file, refuse)) == 12_000
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()
