"""How many tokens of a pair a model has positions for."""

from __future__ import annotations

from transformers import PretrainedConfig

from reranker.errors import CheckpointError

# These number positions from the pad token's id plus one on, so their first rows hold no token.
# tests/reranker/checkpoints/test_positions.py compares the list with the sources of transformers.
COUNT_FROM_PAD_ID = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet"}
    | {"roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}
)
_PAD_ID_OF_MPNET = 1  # whatever its config says


def positions_of(config: PretrainedConfig, name: str) -> int | None:
    """Max tokens of a pair, special tokens included; None if the config does not say.

    Raises CheckpointError where positions count from a pad id that the config lacks.
    """
    rows: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    if rows is None or config.model_type not in COUNT_FROM_PAD_ID:
        return rows
    if config.model_type == "esm" and config.position_embedding_type != "absolute":
        return rows
    pad = _PAD_ID_OF_MPNET if config.model_type == "mpnet" else config.pad_token_id
    if pad is None:
        raise CheckpointError(
            f"{name} has no pad_token_id in its config.json, from which {config.model_type} counts positions: "
            "set it to the tokenizer's pad token"
        )
    return rows - (pad + 1)
