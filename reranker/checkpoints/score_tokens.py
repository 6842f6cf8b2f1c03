"""The vocabulary ids of the tokens that carry a score."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from reranker.errors import CheckpointError
from reranker.recipe import VOCABULARY_ID, Score


def token_weights(
    score: Score, tokenizer: PreTrainedTokenizerBase, embeddings: int | None, name: str
) -> dict[int, float]:
    """Weight by vocabulary id; empty for a classifier.

    embeddings: rows of the embedding table, None if unknown. Raises CheckpointError for a text that is not one token,
    for two names of one token, and for a token that the model does not have.
    """
    weights: dict[int, float] = {}
    for token, weight in score.tokens.items():
        token_id = _id_of(token, tokenizer, name)
        if token_id in weights:
            raise CheckpointError(f"{name}: {token!r} and another token of its recipe's score are the same token")
        if embeddings is not None and not 0 <= token_id < embeddings:
            raise CheckpointError(f"{name}: its model has no token {token_id}, which its score is read from")
        weights[token_id] = weight
    return weights


def _id_of(token: str, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    if token.startswith(VOCABULARY_ID):
        number = token.removeprefix(VOCABULARY_ID)
        if not number.isdecimal():
            raise CheckpointError(f"{name}: {token!r} is no vocabulary id: write {VOCABULARY_ID}123")
        return int(number)
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise CheckpointError(
            f"{name}: its score is read from {token!r}, which is {len(ids)} tokens in its tokenizer: name a text "
            f"that is one token, or write {VOCABULARY_ID} and its vocabulary id"
        )
    if ids[0] == tokenizer.unk_token_id and token != tokenizer.unk_token:
        raise CheckpointError(f"{name}: its score is read from {token!r}, which its tokenizer does not know")
    return int(ids[0])
