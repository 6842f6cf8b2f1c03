"""Parsing a body: what is rejected, and what is repaired."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.http.body import parse_object
from reranker.errors import MalformedBody


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object, not list"),
        (b"null", "must be a JSON object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\\ud800", "b": ' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
        (b'{"a": "\\ud800", "b": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\\ud800"', "not JSON"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "not JSON: number out of range"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    ],
)
def test_body_that_is_no_json_object_is_rejected_in_one_line(raw: bytes, said: str) -> None:
    with pytest.raises(MalformedBody, match=said) as caught:
        parse_object(raw)
    assert "\n" not in str(caught.value)


def test_lone_surrogates_are_replaced_and_pairs_are_kept() -> None:
    raw = rb'{"query": "a\ud800b \ud83c\udf0a", "k\udfff": ["\udc00"]}'
    assert parse_object(raw) == {"query": "a\ufffdb 🌊", "k\ufffd": ["\ufffd"]}


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_valid_object_is_parsed_unchanged(value: dict[str, object]) -> None:
    assert parse_object(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_malformed_body(raw: bytes) -> None:
    with contextlib.suppress(MalformedBody):
        assert isinstance(parse_object(raw), dict)
