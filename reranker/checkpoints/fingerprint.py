"""Is this the same file, or the same checkpoint? SHA-256 of what decides it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO

from reranker.checkpoints.files import CheckpointFiles
from reranker.errors import CheckpointError

_CHUNK_BYTES = 2**20
# Of each MiB of weights this much is read: a matrix that was trained on differs everywhere, and 15 GB are known in a
# second. Smaller tensors are read whole: a head may be all that was trained.
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


def checkpoint_sha256(files: CheckpointFiles) -> str | None:
    """SHA-256 over a checkpoint's config, tokenizer, manifest and weights, base model included; None without weights.

    Of weight files it takes name, size, the first 64 KiB of every MiB, and tensors of less than a MiB. Raises
    CheckpointError for what is no safetensors file.
    """
    digest = hashlib.sha256()
    weights = 0
    for directory in filter(None, (files.directory, files.base)):
        for name in _TEXT_FILES:
            path = directory / name
            if path.is_file():
                digest.update(f"{name}:".encode() + hashlib.sha256(_without_places(path)).digest())
        for path in sorted(directory.glob("*.safetensors")):
            weights += 1
            digest.update(f"{path.name}:{path.stat().st_size}:".encode())
            _add_samples(digest, path)
    return digest.hexdigest() if weights else None


def _without_places(path: Path) -> bytes:
    """A file's bytes; of an adapter's config without where its base lies, which may differ from node to node."""
    if path.name != "adapter_config.json":
        return path.read_bytes()
    config = json.loads(path.read_bytes())
    return json.dumps({**config, "base_model_name_or_path": None}, sort_keys=True).encode()


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        spans = [(start, _SAMPLE_BYTES) for start in range(0, path.stat().st_size, _CHUNK_BYTES)]
        for start, count in spans + _small_tensors(path, file):
            file.seek(start)
            digest.update(file.read(count))


def _small_tensors(path: Path, file: IO[bytes]) -> list[tuple[int, int]]:
    """Where each one lies in a safetensors file, and its bytes: see its header, JSON behind eight bytes of length."""
    header_bytes = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(header_bytes))
        offsets = [tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"]
        spans = [(8 + header_bytes + start, end - start) for start, end in offsets]
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError):
        raise CheckpointError(f"{path} is not a safetensors file: it may be damaged, or half downloaded") from None
    return [(start, count) for start, count in spans if count < _CHUNK_BYTES]
