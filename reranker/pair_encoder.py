"""Tokenize one query with many passages as pairs of texts.

The token ids of a pair are exactly those of
`tokenizer(query_text, passage_text, truncation=True, max_length=max_pair_tokens)`, but the query is tokenized only
once, and each passage without it: the special tokens come from the tokenizer's own pair template, and truncation is
computed from the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from reranker.encoder import Encoder
from reranker.errors import CheckpointError, InvalidField
from reranker.layout import PadToken, PairLayout
from reranker.pairs import EncodedPairs, IntArray, offsets
from reranker.prompt import Piece, PromptTemplate
from reranker.recipe import Recipe
from reranker.truncation import longest_first, only_passage
from reranker.types import Passage, Truncation


class PairEncoder(Encoder):
    """See Encoder.

    sends_types: whether the model is given token types, as the checkpoint's manifest recorded it; None asks the
    tokenizer. recipe: of the template, by default a classifier's.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: PromptTemplate,
        max_pair_tokens: int,
        embeddings: int | None = None,
        sends_types: bool | None = None,
        pad: PadToken | None = None,
        pooling: str = "last",
        warnings: tuple[str, ...] = (),
        token_weights: Mapping[int, float] = MappingProxyType({}),
        *,
        recipe: Recipe | None = None,
    ) -> None:
        recipe = recipe or Recipe(name=template.name, template=template)
        if not tokenizer.is_fast:
            raise CheckpointError("its tokenizer has no tokenizer.json: save it once as a fast tokenizer")
        layout = PairLayout.of(tokenizer)
        if sends_types is not None:
            layout = replace(layout, sends_types=sends_types)
        super().__init__(
            tokenizer, recipe, max_pair_tokens, layout, embeddings, pad, pooling, warnings, token_weights
        )
        self._text_budget = max_pair_tokens - layout.special_tokens
        if self._text_budget < 2:
            raise CheckpointError(
                f"max_pair_tokens {max_pair_tokens} leaves no room for text beside "
                f"{layout.special_tokens} special tokens: allow at least {layout.special_tokens + 2}"
            )
        self._cut_left = tokenizer.truncation_side == "left"

    def encode(
        self,
        query: str,
        passages: Sequence[Passage],
        truncation: Truncation = "model",
        max_whole_chars: int | None = None,
        instruction: str | None = None,
        max_pair_tokens: int | None = None,
    ) -> EncodedPairs:
        self.check_instruction(instruction)
        budget = self._text_budget if max_pair_tokens is None else self._smaller_budget(max_pair_tokens)
        query_ids, passage_ids = self._first_tokens(
            self.template.query(query, instruction), passages, max_whole_chars, budget
        )
        candidate_of = np.arange(len(passages), dtype=np.int32)
        cut = np.zeros(len(passages), dtype=bool)
        if truncation == "max_passage":
            query_cap, passage_cap = self._caps(budget)
            query_tokens = len(query_ids) if query_cap is None else min(len(query_ids), query_cap)
            room = budget - min(query_tokens, budget - 1 if self.template.cuts == "document" else budget // 2)
            if passage_cap is not None:
                room = min(room, passage_cap)
            windows = self._windows(passages, passage_ids, room, self.template.passage, max_whole_chars)
            passage_ids = windows.ids
            candidate_of, cut = np.array(windows.candidate_of, dtype=np.int32), np.array(windows.cut, dtype=bool)
        return self.join(query_ids, passage_ids, candidate_of, cut, budget)

    def tokenize_query(self, query: str) -> IntArray:
        """Token ids of a whole query in its template, without special tokens: int32 (tokens,)."""
        return self._ids_of_query(self.template.query(query))

    def tokenize_passages(self, passages: Sequence[Passage]) -> list[IntArray]:
        """Token ids of whole passages in their template, without special tokens: int32 (tokens,) each."""
        return self._ids_of_passages([self.template.passage(passage) for passage in passages])

    def join(
        self,
        query_ids: IntArray,
        passage_ids: Sequence[IntArray],
        candidate_of: IntArray | None = None,
        cut: NDArray[np.bool_] | None = None,
        budget: int | None = None,
    ) -> EncodedPairs:
        """Pairs of one tokenized query with tokenized passages, cut to the max length.

        candidate_of: the candidate of each passage, by default its position. cut: whether text of it is missing.
        budget: tokens of query and passage, if fewer than fit.
        """
        if candidate_of is None:
            candidate_of = np.arange(len(passage_ids), dtype=np.int32)
        if cut is None:
            cut = np.zeros(len(passage_ids), dtype=bool)
        lengths = np.array([len(ids) for ids in passage_ids], dtype=np.int64)
        budget = budget or self._text_budget
        query_cap, passage_cap = self._caps(budget)
        kept = only_passage if self.template.cuts == "document" else longest_first
        query_kept, passage_kept = kept(
            int(_capped(np.array([len(query_ids)]), query_cap)[0]), _capped(lengths, passage_cap), budget
        )
        prefix_kept, prefix_of = np.unique(query_kept, return_inverse=True)
        head, middle, tail = (
            np.array(part, dtype=np.int32) for part in (self.layout.head, self.layout.middle, self.layout.tail)
        )
        prefixes = [np.concatenate((head, self._cut(query_ids, kept), middle)) for kept in prefix_kept]
        parts: list[IntArray] = []
        for ids, kept in zip(passage_ids, passage_kept, strict=True):
            parts += [self._cut(ids, kept), tail]
        empty = np.empty(0, dtype=np.int32)
        return EncodedPairs(
            prefix_ids=np.concatenate(prefixes) if prefixes else empty,
            prefix_offsets=offsets(np.array([len(prefix) for prefix in prefixes], dtype=np.int64)),
            prefix_of=prefix_of.astype(np.int32),
            passage_ids=np.concatenate(parts) if parts else empty,
            passage_offsets=offsets(passage_kept + len(tail)),
            candidate_of=candidate_of,
            truncated=(query_kept < len(query_ids)) | (passage_kept < lengths) | cut,
        )

    def _caps(self, budget: int) -> tuple[int | None, int | None]:
        """The most tokens of the query and of a passage, in pairs of so many tokens of text."""
        longest = budget + self.layout.special_tokens
        query, passage = (max_tokens(piece, longest) for piece in self.template.pieces)
        return query, passage

    def _smaller_budget(self, max_pair_tokens: int) -> int:
        """Tokens of text in a pair of so many. Raises InvalidField if there is no room for any."""
        budget = min(max_pair_tokens - self.layout.special_tokens, self._text_budget)
        if budget < 2:
            least = self.layout.special_tokens + 2
            raise InvalidField("truncate_prompt_tokens", f"must be at least {least}, got {max_pair_tokens}")
        return budget

    def _first_tokens(
        self, query_text: str, passages: Sequence[Passage], max_whole_chars: int | None, budget: int
    ) -> tuple[IntArray, list[IntArray]]:
        """Token ids of the query and of each passage: all, or so many that a pair is cut in the same place."""
        limit = None if self._cut_left else budget + 1
        texts = [self.template.passage(passage) for passage in passages]
        query_ids = self._ids_of_query(query_text, limit, max_whole_chars)
        passage_ids = self._ids_of_passages(texts, limit, max_whole_chars)
        if limit is not None and budget % 2 and len(query_ids) > budget < max(map(len, passage_ids), default=0):
            # Both sides are cut, and the longer one gets the odd token: their lengths must be compared.
            query_ids = self._ids_of_query(query_text, None, max_whole_chars)
            passage_ids = self._ids_of_passages(texts, len(query_ids) + 1, max_whole_chars)
        return query_ids, passage_ids

    def _cut(self, ids: IntArray, kept: int) -> IntArray:
        return ids[len(ids) - kept :] if self._cut_left else ids[:kept]


def max_tokens(piece: Piece, max_pair_tokens: int) -> int | None:
    """The most tokens that a piece may have; None: as many as fit."""
    caps = [piece.max_tokens, None if piece.max_share is None else int(max_pair_tokens * piece.max_share)]
    return min((cap for cap in caps if cap is not None), default=None)


def _capped(lengths: NDArray[np.int64], cap: int | None) -> NDArray[np.int64]:
    return lengths if cap is None else np.minimum(lengths, cap)
