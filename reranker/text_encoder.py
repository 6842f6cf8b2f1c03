"""Tokenize one query with many passages as one text, or in pieces, as language models are asked.

A pair's token ids are those of each piece of the template tokenized alone, one behind the other. A pair that is too
long loses the end of its document: its tokens are then the first ones of the piece up to and with the document, and
all of the text behind it, tokenized alone. The tokens that all pairs begin with are found by comparing them, and not
assumed: the last token in front of a document may have grown together with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from reranker.encoder import Encoder
from reranker.errors import CheckpointError, InvalidField
from reranker.layout import PadToken, PairLayout, special_tokens_of_text
from reranker.pair_encoder import max_tokens
from reranker.pairs import EncodedPairs, IntArray, offsets
from reranker.prompt import Around, Piece
from reranker.recipe import Recipe
from reranker.types import Passage, Truncation

_MIN_DOCUMENT_TOKENS = 1
_EMPTY = np.empty(0, dtype=np.int32)


class TextEncoder(Encoder):
    """See Encoder. For templates whose special tokens are not those of a text pair.

    A piece with the query may take half of a pair at most, unless the template says otherwise.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        max_pair_tokens: int,
        embeddings: int | None = None,
        pad: PadToken | None = None,
        pooling: str = "last",
        warnings: tuple[str, ...] = (),
        token_weights: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Raises CheckpointError, also where max_pair_tokens leaves no room for a document."""
        head, tail = ((), ()) if recipe.template.special_tokens == "none" else special_tokens_of_text(tokenizer)
        layout = PairLayout(head, (), tail, 0, 0, 0, sends_types=False)
        super().__init__(
            tokenizer, recipe, max_pair_tokens, layout, embeddings, pad, pooling, warnings, token_weights
        )
        self._head, self._tail = (np.array(part, dtype=np.int32) for part in (head, tail))
        place = self.template.document_place
        pieces = self.template.pieces
        self._before, self._piece, self._after = pieces[:place], pieces[place], pieces[place + 1 :]
        try:
            self._parts("", None, None, max_pair_tokens)
        except InvalidField as error:
            raise CheckpointError(f"template {self.template.name}: {error}") from None

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
        longest = min(max_pair_tokens or self.max_pair_tokens, self.max_pair_tokens)
        parts = self._parts(query, instruction, max_whole_chars, longest)
        whole = self._ids_of_passages(
            [parts.text(self._piece, passage) for passage in passages], parts.room + 1, max_whole_chars
        )
        candidate_of, cut = list(range(len(passages))), [False] * len(passages)
        if truncation == "max_passage":
            windows = self._windows(
                passages, whole, parts.room, lambda passage: parts.text(self._piece, passage), max_whole_chars
            )
            passages, whole, candidate_of, cut = windows
        ids, is_cut = self._cut(parts, passages, whole)
        shared = _common(parts.before_document, ids)
        prefix = np.concatenate((parts.before, parts.before_document[:shared]))
        after = np.concatenate((parts.after, self._tail))
        own = [np.concatenate((pair[shared:], after)) for pair in ids]
        return EncodedPairs(
            prefix_ids=prefix if own else _EMPTY,
            prefix_offsets=offsets(np.array([len(prefix)] if own else [], dtype=np.int64)),
            prefix_of=np.zeros(len(own), dtype=np.int32),
            passage_ids=np.concatenate(own) if own else _EMPTY,
            passage_offsets=offsets(np.array([len(part) for part in own], dtype=np.int64)),
            candidate_of=np.array(candidate_of, dtype=np.int32),
            truncated=is_cut | np.array(cut, dtype=bool) | parts.is_cut,
        )

    def _cut(
        self, parts: _Parts, passages: Sequence[Passage], whole: Sequence[IntArray]
    ) -> tuple[list[IntArray], NDArray[np.bool_]]:
        """Token ids of the document's piece, at most `parts.room`, and whether some are missing."""
        is_cut = np.array([len(ids) > parts.room for ids in whole], dtype=bool)
        cut = list(whole)
        behind, kept = parts.after_document, parts.room - len(parts.after_document)
        long = [n for n, missing in enumerate(is_cut) if missing]
        texts = [parts.around.before + self._piece.document(passages[n]) for n in long]
        fresh = self._texts.ids(texts, kept) if len(behind) else [whole[n] for n in long]
        for n, ids in zip(long, fresh, strict=True):
            cut[n] = np.concatenate((ids[:kept], behind))
        return cut, is_cut

    def _parts(
        self, query: str, instruction: str | None, max_whole_chars: int | None, max_pair_tokens: int
    ) -> _Parts:
        """Raises InvalidField where all but query and document leaves no room for them."""
        text = self.template.instruction or "" if instruction is None else instruction
        is_cut = False

        def constant(pieces: tuple[Piece, ...]) -> list[IntArray]:
            nonlocal is_cut
            found = []
            for piece in pieces:
                cap = max_tokens(piece, max_pair_tokens)
                if cap is None and "query" in piece.slots:
                    cap = max_pair_tokens // 2
                ids = self._ids_of_query(
                    piece.around(query, text).before, None if cap is None else cap + 1, max_whole_chars
                )
                is_cut |= cap is not None and len(ids) > cap
                found.append(ids[:cap])
            return found

        before = np.concatenate([self._head, *constant(self._before)])
        after = np.concatenate([_EMPTY, *constant(self._after)])
        room = max_pair_tokens - len(before) - len(after) - len(self._tail)
        cap = max_tokens(self._piece, max_pair_tokens)
        room = room if cap is None else min(room, cap)
        fixed = sum(
            len(self._ids_of_query(part, room + 1, max_whole_chars, "instruction"))
            for part in self._piece.around("", text)
        )
        if fixed + _MIN_DOCUMENT_TOKENS > room:
            needed = max_pair_tokens - room + fixed
            taken = f"without query and document a pair takes {needed} of {max_pair_tokens} tokens"
            if max_pair_tokens < self.max_pair_tokens:
                raise InvalidField("truncate_prompt_tokens", f"leaves no room for a document: {taken}: raise it")
            raise InvalidField(
                "instruction", f"leaves no room for a document: {taken}: shorten it, or raise max_pair_tokens"
            )
        around = self._piece.around(query, text)
        before_document = self._ids_of_query(around.before, room + 1, max_whole_chars)
        after_document = self._ids_of_query(around.after, None, max_whole_chars)
        if len(after_document) > room // 2:  # a long query behind the document: its end stays
            after_document, is_cut = after_document[-(room // 2) :], True
        return _Parts(before, before_document, after_document, after, around, room, is_cut)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all pairs of a query have in common. Token ids are int32 (tokens,).

    before, after: in front of the document's piece, and behind it. before_document, after_document: of the texts
    around the document, tokenized alone. room: tokens of the document's piece. is_cut: whether the query is cut.
    """

    before: IntArray
    before_document: IntArray
    after_document: IntArray
    after: IntArray
    around: Around
    room: int
    is_cut: bool

    def text(self, piece: Piece, passage: Passage) -> str:
        return self.around.before + piece.document(passage) + self.around.after


def _common(start: IntArray, pairs: Sequence[IntArray]) -> int:
    """How many tokens all pairs begin with that `start` begins with too: not all of a pair."""
    count = len(start)
    for ids in pairs:
        count = min(count, len(ids) - 1)
        other = np.flatnonzero(ids[:count] != start[:count])
        if len(other):
            count = int(other[0])
    return max(count, 0)
