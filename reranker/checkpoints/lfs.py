"""Git LFS leaves pointers, small files of text, where the files themselves have not been fetched."""

from __future__ import annotations

from pathlib import Path

from reranker.checkpoints.weight_files import ADAPTER_CONFIG, weight_files, weight_index
from reranker.errors import CheckpointError

_FIRST_BYTES = b"version https://git-lfs"
_MAX_BYTES = 1024  # of a pointer: its specification
_ALWAYS_READ = ("config.json", ADAPTER_CONFIG, "reranker.json", "tokenizer.json", "tokenizer_config.json")
# Read only without tokenizer.json.
_TOKENIZER_FILES = (
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)


def check_no_pointers(directory: Path, *, weights: bool) -> None:
    """Raises CheckpointError if a file that will be read is a pointer. weights: whether they will be read."""
    names = _ALWAYS_READ if (directory / "tokenizer.json").is_file() else (*_ALWAYS_READ, *_TOKENIZER_FILES)
    _check([directory / name for name in names], directory)
    if weights:
        _check([index] if (index := weight_index(directory)) else [], directory)
        _check(weight_files(directory), directory)


def _check(paths: list[Path] | tuple[Path, ...], directory: Path) -> None:
    for path in paths:
        if path.is_file() and path.stat().st_size <= _MAX_BYTES and path.read_bytes().startswith(_FIRST_BYTES):
            raise CheckpointError(
                f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in {directory}"
            )
