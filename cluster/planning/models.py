"""The sizes of a model: from its config, or of a known one without its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from reranker.checkpoints.recipes import known_for
from reranker.engine.shape import ModelShape
from reranker.errors import InvalidField
from reranker.settings import CheckpointSettings

EMBEDDED = "embedded"
_DEFAULT_PAIR_TOKENS = 228  # of the shapes of `reranker model synth`


def _decoder(
    layers: int, hidden: int, heads: int, kv_heads: int, head_dim: int, intermediate: int, rows: int
) -> ModelShape:
    return ModelShape(True, layers, hidden, heads, kv_heads, head_dim, intermediate, rows, gated=True)


def _encoder(layers: int, hidden: int, heads: int, intermediate: int, rows: int) -> ModelShape:
    return ModelShape(False, layers, hidden, heads, heads, hidden // heads, intermediate, rows, gated=False)


# From the models' config.json; embeddings are the rows of all tables.
SHAPES: Mapping[str, ModelShape] = MappingProxyType(
    {
        "12x576": _decoder(12, 576, 9, 3, 64, 1536, 49_152),
        "llama-3.1-8b": _decoder(32, 4096, 32, 8, 128, 14_336, 128_256),
        "rankllama-13b": _decoder(40, 5120, 40, 40, 128, 13_824, 32_000),
        "llama-3.2-3b": _decoder(28, 3072, 24, 8, 128, 8192, 128_256),
        "llama-2-7b": _decoder(32, 4096, 32, 32, 128, 11_008, 32_000),
        "qwen3-0.6b": _decoder(28, 1024, 16, 8, 128, 3072, 151_669),
        "qwen3-4b": _decoder(36, 2560, 32, 8, 128, 9728, 151_669),
        "qwen3-8b": _decoder(36, 4096, 32, 8, 128, 12_288, 151_669),
        "xlm-roberta-large": _encoder(24, 1024, 16, 4096, 250_002 + 8194 + 1),
        "minilm-l6": _encoder(6, 384, 12, 1536, 30_522 + 512 + 2),
        "minilm-l12": _encoder(12, 384, 12, 1536, 30_522 + 512 + 2),
    }
)
_SHAPE_OF = {
    "abdoelsayed/dear-8b-reranker-ranknet-v1": "llama-3.1-8b",
    "abdoelsayed/dear-8b-reranker-ce-v1": "llama-3.1-8b",
    "abdoelsayed/dear-3b-reranker-ranknet-v1": "llama-3.2-3b",
    "abdoelsayed/dear-3b-reranker-ce-v1": "llama-3.2-3b",
    "castorini/rankllama-v1-7b-lora-passage": "llama-2-7b",
    "castorini/rankllama-v1-13b-lora-passage": "rankllama-13b",
    "qwen/qwen3-reranker-0.6b": "qwen3-0.6b",
    "qwen/qwen3-reranker-4b": "qwen3-4b",
    "qwen/qwen3-reranker-8b": "qwen3-8b",
    "baai/bge-reranker-v2-m3": "xlm-roberta-large",
    "cross-encoder/ms-marco-minilm-l6-v2": "minilm-l6",
    "cross-encoder/ms-marco-minilm-l12-v2": "minilm-l12",
}


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """max_pair_tokens: what it reads of query and document together."""

    name: str
    shape: ModelShape
    max_pair_tokens: int


def planned_model(name: str) -> PlannedModel:
    """A directory with a config.json, 'embedded', a known hub id or a shape of SHAPES. Downloads nothing.

    Raises InvalidField for another name, and CheckpointError for a directory that cannot be read or an architecture
    whose layers are not counted.
    """
    if name == EMBEDDED or Path(name).expanduser().is_dir():
        return _from_files(name)
    if name in SHAPES:
        return PlannedModel(name, SHAPES[name], _DEFAULT_PAIR_TOKENS)
    shape, known = _SHAPE_OF.get(name.casefold()), known_for(name)
    if shape is None or known is None or known.recipe.max_pair_tokens is None:
        names = ", ".join((EMBEDDED, *SHAPES, *_SHAPE_OF))
        raise InvalidField(
            "--model", f"{name!r} is no directory, and its sizes are not known here: give its directory, or {names}"
        )
    return PlannedModel(name, SHAPES[shape], known.recipe.max_pair_tokens)


def _from_files(name: str) -> PlannedModel:
    from reranker.checkpoints.encoders import load_encoder
    from reranker.checkpoints.files import load_config, locate

    settings = CheckpointSettings(model=name)
    files = locate(settings, weights=False)
    encoder = load_encoder(settings, files)
    return PlannedModel(name, ModelShape.of(load_config(files, score=encoder.recipe.score)), encoder.max_pair_tokens)
