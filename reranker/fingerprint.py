"""Is this the same file, or the same checkpoint? SHA-256 of what decides it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from reranker.checkpoint import CheckpointFiles
from reranker.records import Location, opened_raw

_CHUNK_BYTES = 2**20
# Of each MiB of weights this much is read: a checkpoint that was trained on differs everywhere, and 15 GB are known
# in a second.
_SAMPLE_BYTES = 2**16
_TEXT_FILES = (
    "config.json",
    "adapter_config.json",
    "reranker.json",
    # Whatever a tokenizer may be made of.
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)


def of_content(location: Location) -> str:
    """SHA-256 of a file's bytes. Raises InvalidFile."""
    with opened_raw(location) as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def of_checkpoint(files: CheckpointFiles) -> str | None:
    """SHA-256 over a checkpoint's config, tokenizer, card and weights, base model included; None without weights.

    Of weight files it takes name, size, and the first 64 KiB of every MiB.
    """
    digest = hashlib.sha256()
    weights = 0
    for directory in filter(None, (files.directory, files.base)):
        for name in _TEXT_FILES:
            path = directory / name
            if path.is_file():
                digest.update(f"{name}:".encode() + hashlib.sha256(path.read_bytes()).digest())
        for path in sorted(directory.glob("*.safetensors")):
            weights += 1
            digest.update(f"{path.name}:{path.stat().st_size}:".encode())
            _add_samples(digest, path)
    return digest.hexdigest() if weights else None


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        for start in range(0, path.stat().st_size, _CHUNK_BYTES):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
