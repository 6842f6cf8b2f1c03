"""A bi-encoder as teacher: the cosine of a query's and a passage's embedding, by sentence-transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cluster.training.data.training_set import TrainingSet
from reranker.checkpoints.hugging_face import as_checkpoint_error, offline
from reranker.ir.locations import content_sha256
from reranker.pairs import FloatArray

_TEXTS_AT_ONCE = 16_384
_CANDIDATES_AT_ONCE = 262_144


class BiEncoder(Protocol):
    """What is used of a SentenceTransformer; both return one row per text."""

    def encode_query(self, inputs: list[str], **options: Any) -> np.ndarray:
        """Embeddings, with the prompt that the model has for queries."""

    def encode_document(self, inputs: list[str], **options: Any) -> np.ndarray:
        """Embeddings, with the prompt that the model has for passages."""


def load_bi_encoder(model: str, device: str | None) -> BiEncoder:
    """In half precision on a GPU. Raises CheckpointError, and ImportError without sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # there is a status line of our own
    with as_checkpoint_error(model), offline():
        encoder: Any = SentenceTransformer(model, device=device, local_files_only=True)
    if encoder.device.type == "cuda":
        encoder.half()
    return encoder  # type: ignore[no-any-return]


def about_bi_encoder(model: str) -> dict[str, Any]:
    """What a file of its scores says of it. checkpoint: SHA-256 over its files; None where it is not a directory."""
    checkpoint, name = None, model
    if (directory := Path(model)).is_dir():
        name = directory.resolve().name
        digest = hashlib.sha256()
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            digest.update(f"{path.relative_to(directory)}:{content_sha256(path)}\n".encode())
        checkpoint = digest.hexdigest()
    return {"kind": "bi-encoder", "model": name, "checkpoint": checkpoint, "template": None}


def bi_encoder_scores(
    data: TrainingSet, encoder: BiEncoder, on_progress: Callable[[str], None] = lambda _: None
) -> FloatArray:
    """Cosine of every candidate, float32 (candidates,)."""
    texts = [
        f"{title} {text}" if title else text
        for title, text in zip(data.corpus["title"].to_pylist(), data.corpus["text"].to_pylist(), strict=True)
    ]
    passages = _embeddings(encoder.encode_document, texts, "passages", on_progress)
    queries = _embeddings(encoder.encode_query, data.queries, "queries", on_progress)
    query_of = np.repeat(np.arange(len(data.queries)), np.diff(data.groups.offsets))
    scores = np.empty(len(query_of), dtype=np.float32)
    for start in range(0, len(scores), _CANDIDATES_AT_ONCE):
        part = slice(start, start + _CANDIDATES_AT_ONCE)
        scores[part] = np.einsum("nd,nd->n", queries[query_of[part]], passages[data.groups.passages[part]])
    return scores


def _embeddings(
    encode: Callable[..., Any], texts: list[str], name: str, on_progress: Callable[[str], None]
) -> FloatArray:
    parts = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        on_progress(f"embedding {name}: {start:,} of {len(texts):,}")
        part = encode(
            texts[start : start + _TEXTS_AT_ONCE],
            batch_size=256,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        parts.append(part.astype(np.float32))
    return np.concatenate(parts)
