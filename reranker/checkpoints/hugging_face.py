"""Calls of Hugging Face's loaders: without network, and with errors of one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from huggingface_hub import constants as hub_constants

from reranker.errors import CheckpointError
from reranker.extras import how_to_install

# What their messages contain -> what to tell the user instead.
_EXPLAINED = {
    "contains custom code": "it needs Python code that ships with it: read that, and set trust_remote_code if you "
    "trust it",
    "Error no file named model.safetensors": "it has no weights in safetensors or PyTorch's format: copy "
    "model.safetensors, or its shards with their index, beside config.json (GGUF and ONNX are not read)",
    "Weights only load failed": "its PyTorch file is damaged, or holds more than tensors: copy it again, or its "
    "safetensors",
    "Padding_idx must be within num_embeddings": "pad_token_id of its config.json has no embedding: set it to the "
    "tokenizer's pad token",
}


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Forbid network requests to the hub: loaders make some even with all files on disk."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def as_checkpoint_error(name: str) -> Iterator[None]:
    """Turns whatever the loading libraries raise into a CheckpointError of one line."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # they also raise AssertionError, TypeError and classes of their own
        missing = how_to_install(error) if isinstance(error, ImportError) else None
        message = " ".join(str(error).split())
        explained = next((text for part, text in _EXPLAINED.items() if part in message), None)
        reason = missing or explained or message[:400] or type(error).__name__
        raise CheckpointError(f"{name} cannot be loaded: {reason}") from error
