"""The authors' own loop with Hugging Face: the reference for our scores.

Deliberately simple and slow: one pair at a time, so that neither batching nor padding can cause errors, each text
tokenized whole, and of a language model the logits of all its tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase

from reranker.layout import PairLayout
from reranker.pairs import FloatArray
from reranker.prompt import PromptTemplate
from reranker.truncation import longest_first
from reranker.types import Passage


@torch.inference_mode()
def reference_logits(
    module: Any,
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    max_pair_tokens: int,
    pairs: Iterable[tuple[str, Passage]],
    *,
    padded: bool = False,
    token_weights: Mapping[int, float] | None = None,
    mean: bool = False,
) -> FloatArray:
    """Logits of (query, passage) pairs in order, float32 (pairs,), computed in the module's own dtype.

    padded: pad every pair to the max length, as DeAR's quick start does. token_weights: of a language model's tokens,
    by vocabulary id; None for a classifier. mean: read the mean of all tokens, and divide the logit by the config's
    temperature, as NVIDIA's Llama rerankers do.
    """
    device, config = module.device, module.config
    logits = []
    for query, passage in pairs:
        inputs = reference_inputs(tokenizer, template, max_pair_tokens, query, passage, padded=padded).to(device)
        if config.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.full((1, 1), config.decoder_start_token_id, device=device)
        if mean:
            hidden = module.base_model(**inputs).last_hidden_state.mean(1)
            logits.append(module.score(hidden).item() / getattr(config, "score_temperature", 1.0))
            continue
        output = module(**inputs).logits.float()
        if not token_weights:
            logits.append(output.flatten().item())
        else:
            logits.append(sum(weight * output[0, -1, token].item() for token, weight in token_weights.items()))
    return np.array(logits, dtype=np.float32)


def reference_inputs(
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    max_pair_tokens: int,
    query: str,
    passage: Passage,
    *,
    padded: bool = False,
) -> BatchEncoding:
    """One pair as Hugging Face tokenizes it, tensors of shape (1, tokens).

    Passes lists of one, as CrossEncoder does: given two strings, Hugging Face takes an empty passage for no passage
    and leaves out the special tokens between the two.
    """
    if template.special_tokens != "pair":
        return _one(_ids_of_pieces(tokenizer, template, max_pair_tokens, query, passage))
    caps = [
        min(
            piece.max_tokens or sys.maxsize,
            int(max_pair_tokens * piece.max_share) if piece.max_share else sys.maxsize,
        )
        for piece in template.pieces
    ]
    texts = [template.query(query), template.passage(passage)]
    if template.cuts == "document" or min(caps) < sys.maxsize:
        return _capped_pair(tokenizer, template, max_pair_tokens, texts, caps, padded=padded)
    inputs: BatchEncoding = tokenizer(
        texts[:1],
        texts[1:],
        truncation="longest_first",
        max_length=max_pair_tokens,
        padding="max_length" if padded else False,
        return_tensors="pt",
    )
    return inputs


def _capped_pair(
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    max_pair_tokens: int,
    texts: list[str],
    caps: list[int],
    *,
    padded: bool,
) -> BatchEncoding:
    """Each text is cut alone, as a trainer does before it joins them, and then both as a pair is."""
    layout = PairLayout.of(tokenizer)
    query, passage = (
        tokenizer(text, add_special_tokens=False)["input_ids"][:cap] for text, cap in zip(texts, caps, strict=True)
    )
    budget = max_pair_tokens - layout.special_tokens
    if template.cuts == "document":
        query = query[: budget - 1]
        passage = passage[: budget - len(query)]
    kept = longest_first(len(query), np.array([len(passage)]), budget)
    first = [*layout.head, *query[: kept[0][0]], *layout.middle]
    second = [*passage[: kept[1][0]], *layout.tail]
    inputs = _one([*first, *second])
    if layout.sends_types:
        typed = len(second) + layout.middle_passage_typed
        types = [layout.prefix_type] * (len(first) + len(second) - typed) + [layout.passage_type] * typed
        inputs["token_type_ids"] = torch.tensor([types])
    if not padded:
        return inputs
    return tokenizer.pad(inputs, padding="max_length", max_length=max_pair_tokens, return_tensors="pt")


def _one(ids: list[int]) -> BatchEncoding:
    return BatchEncoding({"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()})


def _ids_of_pieces(
    tokenizer: PreTrainedTokenizerBase, template: PromptTemplate, max_pair_tokens: int, query: str, passage: Passage
) -> list[int]:
    """Each piece tokenized alone; a piece that is too long loses the end of its document, or its own end."""
    instruction = template.instruction or ""

    def ids(text: str) -> list[int]:
        tokens: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tokens

    whole = {}
    for place, piece in enumerate(template.pieces):
        if not piece.has_document:
            cap = _cap(piece.max_tokens, piece.max_share, max_pair_tokens)
            if cap == max_pair_tokens and "query" in piece.slots:
                cap = max_pair_tokens // 2
            whole[place] = ids(piece.around(query, instruction).before)[:cap]
    head, tail = [], []
    if template.special_tokens == "single":
        both = tokenizer("a")["input_ids"]
        [text] = ids("a")
        head, tail = both[: both.index(text)], both[both.index(text) + 1 :]
    place = template.document_place
    piece = template.pieces[place]
    room = max_pair_tokens - len(head) - len(tail) - sum(map(len, whole.values()))
    room = min(room, _cap(piece.max_tokens, piece.max_share, max_pair_tokens))
    before, after = piece.around(query, instruction)
    text_ids = ids(before + piece.document(passage) + after)
    if len(text_ids) > room:
        behind = ids(after)
        behind = behind[-(room // 2) :] if len(behind) > room // 2 else behind
        text_ids = ids(before + piece.document(passage))[: room - len(behind)] + behind
    whole[place] = text_ids
    return [*head, *(token for place in sorted(whole) for token in whole[place]), *tail]


def _cap(max_tokens: int | None, max_share: float | None, max_pair_tokens: int) -> int:
    share = max_pair_tokens if max_share is None else int(max_pair_tokens * max_share)
    return min(share, max_pair_tokens if max_tokens is None else max_tokens)
