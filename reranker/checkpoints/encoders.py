"""Makes the encoder of a checkpoint from its recipe and its tokenizer. Needs no weights."""

from __future__ import annotations

from reranker.checkpoints.adapter import embedding_rows
from reranker.checkpoints.files import CheckpointFiles, load_config, load_tokenizer, locate
from reranker.checkpoints.pooling import (
    check_can_pad,
    choose_pooling,
    describe,
    pad_token_read,
    pad_with_end_token,
    pooling_warning,
)
from reranker.checkpoints.positions import positions_of
from reranker.checkpoints.prompts import prompts_warning
from reranker.checkpoints.resolve import resolve
from reranker.checkpoints.score_tokens import token_weights
from reranker.checkpoints.sentence_transformers import own_length
from reranker.encoder import Encoder
from reranker.errors import CheckpointError
from reranker.layout import PairLayout
from reranker.pair_encoder import PairEncoder
from reranker.settings import CheckpointSettings
from reranker.text_encoder import TextEncoder

MAX_ASSUMED_PAIR_TOKENS = 512
MAX_ASSUMED_PROMPT_TOKENS = 8192  # of a language model that says how it is asked, and not at which length


def load_encoder(settings: CheckpointSettings, files: CheckpointFiles | None = None) -> Encoder:
    """The encoder of a checkpoint. Raises CheckpointError.

    Settings override the checkpoint's recipe (see `resolve`). Where nobody says how long a pair may be, it is the
    model's max length, at most 512 (8192 of a language model).
    """
    files = files or locate(settings, weights=False)
    resolved = resolve(settings, files)
    recipe = resolved.recipe
    tokenizer = load_tokenizer(files, trust_remote_code=settings.trust_remote_code)
    config = load_config(files, score=recipe.score, trust_remote_code=settings.trust_remote_code)
    if not isinstance(limit := tokenizer.model_max_length, int | float):
        raise CheckpointError(f"{files.name} has model_max_length {limit!r} in tokenizer_config.json: set a number")
    longest = int(min(positions_of(config, files.name) or limit, limit))
    assumed = MAX_ASSUMED_PROMPT_TOKENS if recipe.score.kind == "tokens" else MAX_ASSUMED_PAIR_TOKENS
    max_pair_tokens = recipe.max_pair_tokens or min(longest, own_length(files.directory) or assumed)
    warnings: list[str | None] = []
    if resolved.assumed or (files.manifest is None and recipe.max_pair_tokens is None):
        warnings.append(f"has no reranker.json: assuming template {recipe.template.name}, {max_pair_tokens} tokens")
    if max_pair_tokens > longest:
        raise CheckpointError(f"max_pair_tokens {max_pair_tokens} exceeds the {longest} that {files.name} reads")
    embeddings = getattr(config.get_text_config(), "vocab_size", None)
    if files.base is not None:  # it may add rows that its base model's config does not count
        embeddings = embedding_rows(files.directory) or embeddings
    sends_types = files.manifest.token_types if files.manifest is not None else None
    if settings.pooling == "auto" and recipe.pooling == "padded":
        pad_with_end_token(tokenizer)
    pad = None  # a language model's authors read its logits at the last token, whatever its id
    if recipe.score.kind == "classifier":
        pad = pad_token_read(config, tokenizer, max_pair_tokens, embeddings)
    pooling = choose_pooling(recipe.pooling, recipe.template, pad)
    directories = filter(None, (files.directory, files.base))
    warnings += [pooling_warning(pooling, pad), prompts_warning(*directories, template=recipe.template)]
    if pooling == "padded":
        check_can_pad(tokenizer, embeddings, files.name)
    tokens = token_weights(recipe.score, tokenizer, embeddings, files.name)
    recipe = recipe.model_copy(update={"max_pair_tokens": max_pair_tokens, "pooling": pooling})
    in_words, told = describe(pooling, pad), tuple(filter(None, warnings))
    read_at = pad if pooling == "padded" else None
    if resolved.assumed and not PairLayout.of(tokenizer).middle:
        raise CheckpointError(
            f"{files.name} has a tokenizer that puts nothing between query and document, and nobody says how its "
            "pairs are written: name a recipe with --recipe (see `reranker model list`), or write one"
        )
    if recipe.template.special_tokens != "pair":
        return TextEncoder(tokenizer, recipe, max_pair_tokens, embeddings, read_at, in_words, told, tokens)
    return PairEncoder(
        tokenizer,
        recipe.template,
        max_pair_tokens,
        embeddings,
        sends_types,
        read_at,
        in_words,
        told,
        tokens,
        recipe=recipe,
    )
