"""Tokenize one query with many passages into EncodedPairs.

Knows nothing of weights or devices. The token ids of a pair are exactly those of
`tokenizer(query_text, passage_text, truncation=True, max_length=max_pair_tokens)`, but the query is tokenized only
once, and each passage without it: the special tokens come from the tokenizer's own pair template, and truncation is
computed from the lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from reranker.errors import CheckpointError, InvalidField, UnscorableDocument
from reranker.first_tokens import FirstTokens, LongText
from reranker.pairs import EncodedPairs, IntArray, offsets
from reranker.prompt import PromptTemplate
from reranker.text import well_formed
from reranker.truncation import longest_first
from reranker.types import MAX_WINDOWS, Cut, Passage


@dataclass(frozen=True, slots=True)
class PairLayout:
    """The special tokens a tokenizer puts around a pair: head, query, middle, passage, tail.

    prefix_type, passage_type: token type ids. The last `middle_passage_typed` tokens of the middle have the passage's
    type (as the second BOS of Llama 3 has). sends_types: whether the model is given them; some tokenizers do not.
    """

    head: tuple[int, ...]
    middle: tuple[int, ...]
    tail: tuple[int, ...]
    prefix_type: int
    passage_type: int
    middle_passage_typed: int
    sends_types: bool = True

    @property
    def special_tokens(self) -> int:
        return len(self.head) + len(self.middle) + len(self.tail)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> PairLayout:
        """Derive the layout from one tokenized pair. Raises CheckpointError if the pair cannot be split.

        Types are sent if the tokenizer returns them unasked, because that is what a user's own loop sends.
        """
        probe = tokenizer("a", "b", return_token_type_ids=True)
        ids, owners, types = probe["input_ids"], probe.sequence_ids(), probe["token_type_ids"]
        try:
            query, passage = owners.index(0), owners.index(1)
        except ValueError:
            raise CheckpointError("its tokenizer does not encode pairs: the text of the pair is missing") from None
        query_end = len(owners) - owners[::-1].index(0)
        passage_end = len(owners) - owners[::-1].index(1)
        switch = next((at for at, kind in enumerate(types) if kind != types[0]), passage)
        if not query_end <= switch <= passage or len(set(types[switch:])) != 1:
            raise CheckpointError("its tokenizer does not encode a pair as query, then passage")
        return cls(
            head=tuple(ids[:query]),
            middle=tuple(ids[query_end:passage]),
            tail=tuple(ids[passage_end:]),
            prefix_type=types[0],
            passage_type=types[passage],
            middle_passage_typed=passage - switch,
            sends_types="token_type_ids" in tokenizer("a", "b"),
        )


@dataclass(frozen=True, slots=True)
class PadToken:
    """A pad token behind a pair, at which its logit is read. It attends to the pair, and nothing attends to it.

    position: its column in a padded batch, the last one.
    """

    token_id: int
    position: int


class PairEncoder:
    """Encodes pairs for one checkpoint. Thread-safe.

    embeddings: rows of the model's embedding table, None if unknown. A tokenizer may have an added token without a
    row (usually a pad token): a text that contains it is tokenized as ordinary text. sends_types: as the
    checkpoint's manifest recorded it; None asks the tokenizer. pad: the pad token at which logits
    are read, None for a pair's last token. pooling: the same in words. warnings: what clients must know of how the
    checkpoint's pairs are written and read.
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
    ) -> None:
        if not tokenizer.is_fast:
            raise CheckpointError("its tokenizer has no tokenizer.json: save it once as a fast tokenizer")
        self.template = template
        self.max_pair_tokens = max_pair_tokens
        self.pad = pad
        self.pooling = pooling
        self.warnings = warnings
        self.layout = PairLayout.of(tokenizer)
        if sends_types is not None:
            self.layout = replace(self.layout, sends_types=sends_types)
        self._text_budget = max_pair_tokens - self.layout.special_tokens
        if self._text_budget < 2:
            raise CheckpointError(
                f"max_pair_tokens {max_pair_tokens} leaves no room for text beside "
                f"{self.layout.special_tokens} special tokens: allow at least {self.layout.special_tokens + 2}"
            )
        self._cut_left = tokenizer.truncation_side == "left"
        self._texts = FirstTokens.of(tokenizer, embeddings)

    def encode(
        self,
        query: str,
        passages: Sequence[Passage],
        truncation: Cut = "model",
        max_whole_chars: int | None = None,
    ) -> EncodedPairs:
        """Pairs of one query in the order of the passages.

        Under "max_passage" a passage that does not fit becomes several pairs, one per window. Under "error" pairs
        are cut as under "model"; the caller checks `truncated`. Of a long text only what a pair may keep is
        tokenized, where the tokenizer allows it (see `first_tokens`). Raises UnscorableDocument, or InvalidField for
        the query, where it does not and the text has more than max_whole_chars.
        """
        budget = self._text_budget if isinstance(truncation, str) else self._smaller_budget(truncation)
        query_ids, passage_ids = self._first_tokens(query, passages, max_whole_chars, budget)
        candidate_of = np.arange(len(passages), dtype=np.int32)
        cut = np.zeros(len(passages), dtype=bool)
        if truncation == "max_passage":
            passage_ids, candidate_of, cut = self._windows(len(query_ids), passages, passage_ids, max_whole_chars)
        return self.join(query_ids, passage_ids, candidate_of, cut, budget)

    def _smaller_budget(self, max_pair_tokens: int) -> int:
        """Tokens of text in a pair of so many. Raises InvalidField if there is no room for any."""
        budget = min(max_pair_tokens - self.layout.special_tokens, self._text_budget)
        if budget < 2:
            least = self.layout.special_tokens + 2
            raise InvalidField("truncate_prompt_tokens", f"must be at least {least}, got {max_pair_tokens}")
        return budget

    def tokenize_query(self, query: str) -> IntArray:
        """Token ids of a whole query in its template, without special tokens: int32 (tokens,)."""
        return self._ids_of_query(query, None, None)

    def tokenize_passages(self, passages: Sequence[Passage]) -> list[IntArray]:
        """Token ids of whole passages in their template, without special tokens: int32 (tokens,) each."""
        return self._ids_of_passages([self.template.passage(passage) for passage in passages], None, None)

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
        query_kept, passage_kept = longest_first(len(query_ids), lengths, budget or self._text_budget)
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

    def _first_tokens(
        self, query: str, passages: Sequence[Passage], max_whole_chars: int | None, budget: int
    ) -> tuple[IntArray, list[IntArray]]:
        """Token ids of the query and of each passage: all, or so many that a pair is cut in the same place."""
        limit = None if self._cut_left else budget + 1
        texts = [self.template.passage(passage) for passage in passages]
        query_ids = self._ids_of_query(query, limit, max_whole_chars)
        passage_ids = self._ids_of_passages(texts, limit, max_whole_chars)
        if limit is not None and budget % 2 and len(query_ids) > budget < max(map(len, passage_ids), default=0):
            # Both sides are cut, and the longer one gets the odd token: their lengths must be compared.
            query_ids = self._ids_of_query(query, None, max_whole_chars)
            passage_ids = self._ids_of_passages(texts, len(query_ids) + 1, max_whole_chars)
        return query_ids, passage_ids

    def _ids_of_query(self, query: str, limit: int | None, max_whole_chars: int | None) -> IntArray:
        """Raises InvalidField."""
        try:
            return self._texts.ids([self.template.query(query)], limit, max_whole_chars)[0]
        except LongText as error:
            raise InvalidField("query", _too_long(error)) from None

    def _ids_of_passages(self, texts: list[str], limit: int | None, max_whole_chars: int | None) -> list[IntArray]:
        """Raises UnscorableDocument."""
        try:
            return self._texts.ids(texts, limit, max_whole_chars)
        except LongText as error:
            raise UnscorableDocument(error.index, _too_long(error)) from None

    def _cut(self, ids: IntArray, kept: int) -> IntArray:
        return ids[len(ids) - kept :] if self._cut_left else ids[:kept]

    def _windows(
        self,
        query_tokens: int,
        passages: Sequence[Passage],
        passage_ids: list[IntArray],
        max_whole_chars: int | None,
    ) -> tuple[list[IntArray], IntArray, NDArray[np.bool_]]:
        """Token ids of all windows, the passage each belongs to, and whether text of that passage was left out.

        A passage that fits is its own window.
        """
        room = self._text_budget - min(query_tokens, self._text_budget // 2)
        ids: list[IntArray] = []
        owners: list[int] = []
        cut: list[bool] = []
        for candidate, (passage, whole) in enumerate(zip(passages, passage_ids, strict=True)):
            texts: list[str] = []
            left_out = False
            if len(whole) > room:
                try:
                    texts, left_out = self._split(passage, room, max_whole_chars)
                except LongText as error:
                    raise UnscorableDocument(candidate, _too_long(error)) from None
            windows = self._texts.ids([self.template.passage(Passage(text, passage.title)) for text in texts], None)
            ids += windows or [whole]
            owners += [candidate] * (len(windows) or 1)
            cut += [left_out] * (len(windows) or 1)
        return ids, np.array(owners, dtype=np.int32), np.array(cut, dtype=bool)

    def _split(self, passage: Passage, room: int, max_whole_chars: int | None) -> tuple[list[str], bool]:
        """A passage's text in pieces that fit in `room` tokens with its title, and whether some was left out.

        Raises LongText.
        """
        title = self.template.passage(Passage("", passage.title))
        title_tokens = len(self._texts.ids([title], room, max_whole_chars)[0])
        step = room - title_tokens - 1  # a piece tokenized alone may have one token more than within the text
        if step < 1:
            return [], False  # the title fills the pair: cut as under "model"
        text = well_formed(passage.text)
        token_starts = self._texts.starts(text, step * MAX_WINDOWS + 1, max_whole_chars)
        starts = [0, *token_starts[step::step]]
        ends = [*starts[1:], len(text)]
        windows = list(zip(starts, ends, strict=True))[:MAX_WINDOWS]
        return [text[start:end] for start, end in windows], len(starts) > MAX_WINDOWS


def _too_long(error: LongText) -> str:
    return f"has more than {error.limit_chars} characters, and all of them would have to be tokenized: cut it"
