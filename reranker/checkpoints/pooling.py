"""Where a causal model's logit is read: at a pair's last token, or at a pad token behind it.

Hugging Face reads it at the last token whose id is not the config's pad id. If the tokenizer pads with another id,
that is the last pad token of a padded pair. DeAR's models are like this: they are trained with pad id 0 in the
config, their tokenizer pads with the end-of-text token, and their quick start pads every pair to the max length.
"""

from __future__ import annotations

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from reranker.errors import CheckpointError
from reranker.layout import PadToken
from reranker.prompt import DEAR, PromptTemplate
from reranker.recipe import Pooling


def choose_pooling(wanted: Pooling | None, template: PromptTemplate, pad: PadToken | None) -> Pooling:
    """wanted: by settings or recipe. pad: of `pad_token_read`."""
    if wanted is not None:
        return wanted
    return "padded" if template.pieces == DEAR.pieces and pad is not None else "last"


def pad_with_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """As authors do whose tokenizer has no pad token."""
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token


def pad_token_read(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, max_pair_tokens: int, embeddings: int | None
) -> PadToken | None:
    """The pad token at which Hugging Face reads the logit of a pair padded to the max length.

    None where padding changes nothing. embeddings: rows of the embedding table, None if unknown.
    """
    pad, known = tokenizer.pad_token_id, config.get_text_config().pad_token_id
    if pad is None or pad == known or tokenizer.padding_side != "right":
        return None
    if embeddings is not None and pad >= embeddings:
        return None  # Hugging Face cannot run a padded pair at all
    return PadToken(pad, max_pair_tokens - 1) if _pools_by_pad_id(config) else None


def check_can_pad(tokenizer: PreTrainedTokenizerBase, embeddings: int | None, name: str) -> None:
    """Raises CheckpointError where Hugging Face cannot pad: there is no pad token, or the model does not know it."""
    pad = tokenizer.pad_token_id
    if pad is None:
        raise CheckpointError(f"{name} cannot be scored with pooling padded: its tokenizer has no pad token")
    if embeddings is not None and pad >= embeddings:
        raise CheckpointError(f"{name} cannot be scored with pooling padded: its model has no pad token {pad}")


def describe(pooling: Pooling, pad: PadToken | None) -> str:
    """For clients and the log."""
    if pooling == "padded" and pad is not None:
        return f"padded: logits are read at pad token {pad.token_id} in column {pad.position}, as Hugging Face does"
    return "mean" if pooling == "mean" else "last"


def pooling_warning(pooling: Pooling, pad: PadToken | None) -> str | None:
    """What to know where Hugging Face's padded batches give other scores than ours."""
    if pooling == "padded" or pad is None:
        return None
    return (
        f"pooling last: logits are read at the last token, but Hugging Face's padded batches read them at pad token "
        f"{pad.token_id}, which is not the config's: set pooling to padded for the scores of padded pairs"
    )


def _pools_by_pad_id(config: PretrainedConfig) -> bool:
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    from transformers.modeling_layers import GenericForSequenceClassification

    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return False
    model = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    return isinstance(model, type) and issubclass(model, GenericForSequenceClassification)
