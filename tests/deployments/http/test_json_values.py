"""Counting JSON values: never fewer than a parser would build, and no more than the text outside strings asks for."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.http.json_values import max_values, running_count
from tests.deployments.http.bodies import JSON

AWKWARD = st.text(alphabet='a",[{\\\n🌊', max_size=12)
VALUE = st.recursive(
    JSON | AWKWARD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(AWKWARD, inner, max_size=4),
    max_leaves=20,
)


def values_of(value: Any) -> int:
    """Values of a JSON value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_of, inner))


def empty_containers(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return int(isinstance(value, dict | list) and not value) + sum(map(empty_containers, inner))


@pytest.mark.parametrize("slice_bytes", [1, 2, 3, 7, 2**18])
@given(value=VALUE, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_count_is_exact_but_for_empty_containers(
    value: Any, ascii_only: bool, indent: int | None, slice_bytes: int
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    counts = list(running_count(text, slice_bytes))
    assert counts == sorted(counts)
    assert counts[-1] == values_of(value) + empty_containers(value)
    assert max_values(text) + 1 >= counts[-1]


def test_count_stops_early_and_reads_escapes_across_slices() -> None:
    text = b'{"documents":[' + b'"",' * 2**20 + b'""]}'
    assert next(running_count(text)) > 80_000
    quoted = json.dumps({"query": '\\",' * 2**18, "documents": ["a", "b"]}).encode()
    assert list(running_count(quoted))[-1] == 5


@given(st.binary(max_size=60))
def test_any_bytes_can_be_counted(text: bytes) -> None:
    assert all(count >= 1 for count in running_count(bytearray(text)))
