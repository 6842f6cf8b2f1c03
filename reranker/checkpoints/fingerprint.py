"""A checkpoint's fingerprint: SHA-256 over everything that its scores depend on. The sampling of weights is ours."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import IO

from reranker.checkpoints.files import CheckpointFiles
from reranker.checkpoints.module_chain import chain_files, module_configs
from reranker.checkpoints.weight_files import weight_files
from reranker.errors import CheckpointError

_CHUNK_BYTES = 2**20
# Read per MiB of weights: training changes a matrix everywhere, and so 15 GB take only a second. Tensors below a MiB
# are read whole, because a head may be all that was trained.
_SAMPLE_BYTES = 2**16
_TEXT_FILES = (
    "config.json",
    "adapter_config.json",
    "reranker.json",
    # What sentence-transformers writes: modules, lengths, prompts; and the chat template that a recipe is made of.
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "chat_template.jinja",
    "chat_template.json",
    # All files that a tokenizer may consist of.
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
    """SHA-256 over a checkpoint's config, tokenizer, manifest and weights, base model too; None without all weights.

    Of the weight files that are read it covers names, sizes, the first 64 KiB of every MiB, and all tensors below a
    MiB. Raises CheckpointError for a file that is damaged or in another format.
    """
    digest = hashlib.sha256()
    for directory in filter(None, (files.directory, files.base)):
        for name in _TEXT_FILES:
            path = directory / name
            if path.is_file():
                digest.update(f"{name}:".encode() + hashlib.sha256(_content(path)).digest())
        weights = weight_files(directory)
        if not weights:
            return None
        for path in weights:
            digest.update(f"{path.name}:{path.stat().st_size}:".encode())
            _add_samples(digest, path)
        for path in sorted({*chain_files(directory), *module_configs(directory)}):
            digest.update(f"{path.relative_to(directory)}:".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    """A file's bytes; an adapter's config without the path of its base model, which may differ between nodes."""
    if path.name != "adapter_config.json":
        return path.read_bytes()
    config = json.loads(path.read_bytes())
    return json.dumps({**config, "base_model_name_or_path": None}, sort_keys=True).encode()


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        spans = [(start, _SAMPLE_BYTES) for start in range(0, path.stat().st_size, _CHUNK_BYTES)]
        small = _small_tensors(path, file) if path.suffix == ".safetensors" else _small_records(path)
        for start, count in spans + small:
            file.seek(start)
            digest.update(file.read(count))


def _small_tensors(path: Path, file: IO[bytes]) -> list[tuple[int, int]]:
    """(offset, bytes) of each tensor below a MiB, from the safetensors header: 8 bytes of length, then JSON."""
    header_bytes = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(header_bytes))
        offsets = [tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"]
        spans = [(8 + header_bytes + start, end - start) for start, end in offsets]
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError):
        raise CheckpointError(f"{path} is not a safetensors file: it may be damaged or incomplete") from None
    return [(start, count) for start, count in spans if count < _CHUNK_BYTES]


def _small_records(path: Path) -> list[tuple[int, int]]:
    """(offset, bytes) of each record below a MiB of PyTorch's zip format; of its older format, the whole file.

    The last span is the directory of the zip file, which has the CRC-32 of every record.
    """
    if not zipfile.is_zipfile(path):
        return [(0, path.stat().st_size)]
    try:
        with zipfile.ZipFile(path) as archive:
            starts = [record.header_offset for record in archive.infolist()]
            ends = [*starts[1:], archive.start_dir]
    except zipfile.BadZipFile:
        raise CheckpointError(f"{path} is not a PyTorch file: it may be damaged or incomplete") from None
    records = [(start, end - start) for start, end in zip(starts, ends, strict=True)]
    return [*(span for span in records if span[1] < _CHUNK_BYTES), (ends[-1], path.stat().st_size - ends[-1])]
