"""Lines of text files: blank ones are skipped but numbered, and files that are not text say what they are."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import InvalidFile
from reranker.ir.lines import columns_of, iter_lines
from tests.reranker.ir.files import text_file


def test_blank_lines_are_skipped_but_numbered_and_line_endings_are_stripped(tmp_path: Path) -> None:
    path = text_file(tmp_path, "\ufeffone\r\n\r\n \t \n two\t\nthree", "a.txt")
    assert list(iter_lines(path)) == [(1, "one"), (4, " two\t"), (5, "three")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (bz2.compress(b"a\n"), "is compressed with bzip2"),
        (lzma.compress(b"a\n"), "is compressed with xz"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "is compressed with zstd"),
        (gzip.compress(gzip.compress(b"a\n")), "is compressed twice"),
        (b"PK\x03\x04\x14\x00", "is a zip archive or a spreadsheet"),
        ("a\n".encode("utf-16"), "is UTF-16: convert it"),
    ],
)
def test_file_that_is_not_text_says_what_it_is(content: bytes, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content, "run.trec")
    with pytest.raises(InvalidFile) as caught:
        list(iter_lines(path))
    assert str(caught.value).startswith(f"{path}: {problem}")


WORDS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=4)


@given(cells=st.lists(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), min_size=2, max_size=6))
def test_columns_between_tabs_keep_their_spaces(cells: list[str]) -> None:
    assert columns_of(" " + "\t".join(cells) + " \r\n") == cells


@given(cells=st.lists(WORDS, min_size=1, max_size=6), spaces=st.integers(1, 3))
def test_columns_without_tabs_are_split_at_spaces(cells: list[str], spaces: int) -> None:
    assert columns_of((" " * spaces).join(cells)) == cells
