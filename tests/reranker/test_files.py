"""Atomic writes: a file is complete or unchanged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reranker.files import write_atomically


def test_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    def failing() -> Iterator[str]:
        yield "half\n" * 100_000
        raise RuntimeError("in between")

    for name in ("old", "new"):
        (tmp_path / "old").write_text("as it was")
        with pytest.raises(RuntimeError, match="in between"):
            write_atomically(tmp_path / name, failing())
        assert [path.name for path in tmp_path.iterdir()] == ["old"]
        assert (tmp_path / "old").read_text() == "as it was"


def test_written_file_is_readable_by_all_users(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "grüße\n")
    assert (tmp_path / "file").read_bytes() == "grüße\n".encode()
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_temporary_file_is_beside_the_file_because_only_there_a_rename_is_atomic(tmp_path: Path) -> None:
    seen: list[str] = []

    def lines() -> Iterator[str]:
        seen.extend(path.name for path in tmp_path.iterdir())
        yield "line\n"

    write_atomically(tmp_path / "file", lines())
    assert len(seen) == 1
    assert seen[0].startswith(".file.")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_failed_write_says_why_even_if_its_temporary_file_is_gone(tmp_path: Path) -> None:
    def failing() -> Iterator[str]:
        for path in tmp_path.iterdir():
            path.unlink()
        raise RuntimeError("in between")
        yield ""

    with pytest.raises(RuntimeError, match="in between"):
        write_atomically(tmp_path / "file", failing())
