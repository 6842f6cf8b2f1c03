"""What a killed process, or a loss of power, leaves of a directory: copies of it, taken while a job runs."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_on_event: list[Callable[[str], None]] = []  # an audit hook cannot be removed, so the one hook calls these
_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        for call in (*_on_event,):  # they leave the list while they run
            call(event)


@contextmanager
def before_each_file_operation(call: Callable[[], None]) -> Iterator[None]:
    """Call this before Python opens, renames or removes a file or directory, in this context."""
    if not getattr(_hook, "added", False):
        sys.addaudithook(_hook)
        _hook.added = True  # type: ignore[attr-defined]

    def once(event: str) -> None:
        _on_event.remove(once)  # the call itself may use files
        try:
            call()
        finally:
            _on_event.append(once)

    _on_event.append(once)
    try:
        yield
    finally:
        _on_event.remove(once)


class Disk:
    """What is on the disk: of a file what it held, and of a directory what it listed, when it was last synced.

    This is the least that POSIX promises after a loss of power. Directories that existed before are on the disk.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory.stat().st_ino
        self._files: dict[int, bytes] = {}
        self._lists: dict[int, dict[str, int]] = {self._root: {}}
        self._sync = os.fsync

    def fsync(self, descriptor: int) -> None:
        """Takes the place of `os.fsync`."""
        self._sync(descriptor)
        status, path = os.fstat(descriptor), Path(f"/proc/self/fd/{descriptor}").readlink()
        if stat.S_ISDIR(status.st_mode):
            self._lists[status.st_ino] = {entry.name: entry.lstat().st_ino for entry in path.iterdir()}
        else:
            self._files[status.st_ino] = path.read_bytes()

    def write_to(self, target: Path, inode: int | None = None) -> None:
        """Create the directory as it is found after a loss of power."""
        target.mkdir()
        for name, entry in self._lists.get(self._root if inode is None else inode, {}).items():
            if entry in self._lists:
                self.write_to(target / name, entry)
            else:
                (target / name).write_bytes(self._files.get(entry, b""))


def copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
