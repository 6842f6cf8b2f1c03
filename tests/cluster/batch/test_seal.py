"""Files that hold a checksum of themselves: every damage is known from the file alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.seal import SEAL, is_sealed, json_object, seal

JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=4
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)


def sealed(facts: object) -> bytes:
    return seal(json.dumps({"facts": facts} | SEAL, indent=1).encode() + b"\n")


@given(facts=OBJECTS | st.just({"sha256": "0" * 64}))
def test_sealed_contents_are_whole_and_keep_what_they_say(facts: object) -> None:
    contents = sealed(facts)
    assert is_sealed(contents)
    assert json_object(contents)["facts"] == facts


@given(facts=OBJECTS, more=st.binary(min_size=1), data=st.data())
def test_contents_that_were_cut_changed_or_extended_are_not_sealed(
    facts: object, more: bytes, data: st.DataObject
) -> None:
    contents = sealed(facts)
    end = data.draw(st.integers(0, len(contents) - 1))
    flipped = bytearray(contents)
    flipped[end] ^= data.draw(st.integers(1, 255))
    for damaged in (contents[:end], contents[end + 1 :], bytes(flipped), contents + more, bytes(len(contents))):
        assert not is_sealed(damaged)


@given(contents=st.binary())
def test_json_object_of_other_bytes_is_empty(contents: bytes) -> None:
    assert json_object(b"[" + contents) == {}
    assert json_object(contents[:0]) == {}


@pytest.mark.parametrize("contents", [b"[]", b"[1]", b"null", b"1", b'"sha256"', b"{", b"\xff"])
def test_json_that_is_no_object_is_empty(contents: bytes) -> None:
    assert json_object(contents) == {}


def test_file_sealed_by_an_earlier_version_is_still_whole() -> None:
    """The checksum is that of the file with 64 zeros in its place, under the name sha256."""
    checksum = b"6816743de920a97d9db1c2628f4644f70b0965ab9563d296cd16daf63776b231"
    assert seal(b'{"a": 1, "sha256": "' + b"0" * 64 + b'"}') == b'{"a": 1, "sha256": "' + checksum + b'"}'
    assert is_sealed(b'{"a": 1, "sha256": "' + checksum + b'"}')
