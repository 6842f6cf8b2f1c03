"""What all encoders have in common: texts in, EncodedPairs out. Knows nothing of weights or devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from reranker.errors import CheckpointError, InvalidField, UnscorableDocument
from reranker.first_tokens import FirstTokens, LongText
from reranker.layout import PadToken, PairLayout
from reranker.pairs import EncodedPairs, IntArray
from reranker.recipe import Recipe
from reranker.text import well_formed
from reranker.types import MAX_WINDOWS, Passage, Truncation


class Windows(NamedTuple):
    """The windows of all passages in order, with their token ids.

    candidate_of: the passage of each. cut: whether text of that passage is in no window.
    """

    passages: list[Passage]
    ids: list[IntArray]
    candidate_of: list[int]
    cut: list[bool]


class Encoder(ABC):
    """Encodes pairs for one checkpoint. Thread-safe.

    embeddings: rows of the model's embedding table, None if unknown. A tokenizer may have an added token without a
    row (usually a pad token): a text that contains it is tokenized as ordinary text. pad: the pad token at which
    logits are read, None for a pair's last token. pooling: the same in words. warnings: what clients must know of how
    the checkpoint's pairs are written and read. token_weights: weights of a language model's tokens in the logit, by
    vocabulary id; empty for a classifier.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe,
        max_pair_tokens: int,
        layout: PairLayout,
        embeddings: int | None = None,
        pad: PadToken | None = None,
        pooling: str = "last",
        warnings: tuple[str, ...] = (),
        token_weights: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Raises CheckpointError for a tokenizer that does not fit the model, or without a fast version."""
        if not tokenizer.is_fast:
            raise CheckpointError("its tokenizer has no tokenizer.json: save it once as a fast tokenizer")
        self.recipe = recipe
        self.template = recipe.template
        self.max_pair_tokens = max_pair_tokens
        self.layout = layout
        self.pad = pad
        self.pooling = pooling
        self.warnings = warnings
        self.token_weights = token_weights
        self._texts = FirstTokens.of(tokenizer, embeddings)
        for mark in sorted(self.template.marks):
            if len(self._texts.ids([mark], None)[0]) != 1:
                raise CheckpointError(
                    f"the template {self.template.name} spells {mark}, which is no token of this tokenizer and "
                    "model: are they those that the recipe is for, with all added tokens?"
                )

    @abstractmethod
    def encode(
        self,
        query: str,
        passages: Sequence[Passage],
        truncation: Truncation = "model",
        max_whole_chars: int | None = None,
        instruction: str | None = None,
        max_pair_tokens: int | None = None,
    ) -> EncodedPairs:
        """Pairs of one query in the order of the passages.

        Under "max_passage" a passage that does not fit becomes several pairs, one per window. Under "error" pairs
        are cut as under "model"; the caller checks `truncated`. Of a long text only what a pair may keep is
        tokenized, where the tokenizer allows it (see `first_tokens`). instruction: None for the template's own.
        max_pair_tokens: if fewer than the encoder's.

        Raises UnscorableDocument, or InvalidField for the query, where all of a text must be tokenized and it has
        more than max_whole_chars; InvalidField for an instruction that the template does not take or that is too
        long, and for pairs of too few tokens.
        """

    def check_instruction(self, instruction: str | None) -> None:
        """Raises InvalidField for an instruction that the template does not take."""
        if instruction is not None and not self.template.takes_instruction:
            raise InvalidField(
                "instruction", f"is not read by this model, whose template is {self.template.name}: leave it out"
            )

    def _ids_of_query(
        self, text: str, limit: int | None = None, max_whole_chars: int | None = None, field: str = "query"
    ) -> IntArray:
        """Raises InvalidField."""
        try:
            return self._texts.ids([text], limit, max_whole_chars)[0]
        except LongText as error:
            raise InvalidField(field, _too_long(error)) from None

    def _ids_of_passages(
        self, texts: list[str], limit: int | None = None, max_whole_chars: int | None = None
    ) -> list[IntArray]:
        """Raises UnscorableDocument."""
        try:
            return self._texts.ids(texts, limit, max_whole_chars)
        except LongText as error:
            raise UnscorableDocument(error.index, _too_long(error)) from None

    def _windows(
        self,
        passages: Sequence[Passage],
        whole: Sequence[IntArray],
        room: int,
        render: Callable[[Passage], str],
        max_whole_chars: int | None,
    ) -> Windows:
        """whole: token ids of each passage as `render` writes it. A passage of at most `room` tokens is one window.

        Raises UnscorableDocument.
        """
        windows = Windows([], [], [], [])
        for candidate, (passage, ids) in enumerate(zip(passages, whole, strict=True)):
            pieces: list[Passage] = []
            left_out = False
            if len(ids) > room:
                try:
                    pieces, left_out = self._split(passage, room, render, max_whole_chars)
                except LongText as error:
                    raise UnscorableDocument(candidate, _too_long(error)) from None
            windows.passages.extend(pieces or [passage])
            windows.ids.extend(self._texts.ids([render(piece) for piece in pieces], None) or [ids])
            windows.candidate_of.extend([candidate] * (len(pieces) or 1))
            windows.cut.extend([left_out] * (len(pieces) or 1))
        return windows

    def _split(
        self, passage: Passage, room: int, render: Callable[[Passage], str], max_whole_chars: int | None
    ) -> tuple[list[Passage], bool]:
        """A passage in pieces that fit in `room` tokens with its title, and whether some text was left out.

        Raises LongText.
        """
        title_tokens = len(self._texts.ids([render(Passage("", passage.title))], room, max_whole_chars)[0])
        step = room - title_tokens - 1  # a piece tokenized alone may have one token more than within the text
        if step < 1:
            return [], False  # the title fills the pair: cut as under "model"
        text = well_formed(passage.text)
        token_starts = self._texts.starts(text, step * MAX_WINDOWS + 1, max_whole_chars)
        starts = [0, *token_starts[step::step]]
        ends = [*starts[1:], len(text)]
        windows = list(zip(starts, ends, strict=True))[:MAX_WINDOWS]
        return [Passage(text[start:end], passage.title) for start, end in windows], len(starts) > MAX_WINDOWS


def _too_long(error: LongText) -> str:
    return f"has more than {error.limit_chars} characters, and all of them would have to be tokenized: cut it"
