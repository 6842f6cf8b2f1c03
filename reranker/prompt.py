"""Pair templates: the text of a query and a passage before tokenizing. Pure text: knows nothing of tokens.

A template is a list of pieces. Each is a format string, tokenized on its own, and the token ids of all are
concatenated. Its slots are {query}, {title}, {text}, {instruction}, and {document}: title and text joined by one
space, as in BEIR, or the text alone without a title. A change to a template's text changes every score, so each
template has a version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from string import Formatter
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from reranker.types import Passage

_MARKS = re.compile(r"<\|[^\s<>|]+\|>|</?s>|<bos>|<unk>")
DOCUMENT_SLOTS = frozenset({"document", "text", "title"})
SLOTS = frozenset({"query", "instruction"}) | DOCUMENT_SLOTS


class Around(NamedTuple):
    """A piece without its document: the text before it and after it. Without a document, `before` is all of it."""

    before: str
    after: str


class Piece(BaseModel):
    """One piece of a template.

    with_instruction: its text if there is an instruction, where that is more than a slot. max_tokens: the most tokens
    that it may have; max_share: the same as a share of a pair's. More are cut. strips: query and document lose white
    space at both ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    with_instruction: str | None = None
    max_tokens: PositiveInt | None = None
    max_share: float | None = Field(None, gt=0, lt=1)
    strips: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"text": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _has_known_slots(self) -> Self:
        allowed = f"use {', '.join(f'{{{slot}}}' for slot in sorted(SLOTS))}, and double a brace that is no slot"
        try:
            parsed = list(Formatter().parse(self.text))
        except ValueError as error:
            raise ValueError(f"{error} in {self.text!r}: {allowed}") from None
        unknown = next(
            (slot for _, slot, *how in parsed if slot is not None and (slot not in SLOTS or any(how))), None
        )
        if unknown is not None:
            raise ValueError(f"{{{unknown}}} is not known: {allowed}")
        if {slot for _, slot in self.parts[self._document]} - DOCUMENT_SLOTS:
            raise ValueError(f"{self.text!r} has another slot between {{title}} and {{text}}: put it before or after")
        if self._instructed is not None and self._instructed.slots != self.slots | {"instruction"}:
            raise ValueError("with_instruction has the slots of the text, and {instruction}")
        return self

    @cached_property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """Literal texts, each with the slot behind it: None at the end."""
        return tuple((literal, slot) for literal, slot, _, _ in Formatter().parse(self.text))

    @cached_property
    def slots(self) -> frozenset[str]:
        return frozenset(slot for _, slot in self.parts if slot is not None)

    @property
    def has_document(self) -> bool:
        return bool(self.slots & DOCUMENT_SLOTS)

    def around(self, query: str, instruction: str = "") -> Around:
        if instruction and self._instructed is not None:
            return self._instructed.around(query, instruction)
        values = {"query": query.strip() if self.strips else query, "instruction": instruction}
        document = self._document
        before = _filled(self.parts[: document.start], values)
        if not self.has_document:
            return Around(before, "")
        return Around(before + self.parts[document.start][0], _filled(self.parts[document.stop :], values))

    def document(self, passage: Passage) -> str:
        """From the first of the document's slots to the last."""
        title, text = passage.title, passage.text
        values = {"title": title, "text": text, "document": f"{title} {text}" if title else text}
        first, *others = self.parts[self._document]
        text = _filled((("", first[1]), *others), values)
        return text.strip() if self.strips else text

    @cached_property
    def _instructed(self) -> Piece | None:
        return None if self.with_instruction is None else Piece(text=self.with_instruction, strips=self.strips)

    @cached_property
    def _document(self) -> slice:
        """The parts that end in the document's slots, and all between; empty and at the end without any."""
        places = [place for place, (_, slot) in enumerate(self.parts) if slot in DOCUMENT_SLOTS]
        return slice(places[0], places[-1] + 1) if places else slice(len(self.parts), len(self.parts))


class PromptTemplate(BaseModel):
    """The pieces of a pair, and the special tokens around them.

    special_tokens: the tokenizer's own around a pair of texts ("pair": exactly two pieces, query before document), or
    around one text ("single"), or none of them. instruction: what {instruction} is if a request has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    version: PositiveInt = 1
    pieces: tuple[Piece, ...] = Field(min_length=1)
    special_tokens: Literal["pair", "single", "none"] = "pair"
    cuts: Literal["longest_first", "document"] = "longest_first"
    instruction: str | None = None

    @model_validator(mode="after")
    def _reads_query_and_document(self) -> Self:
        slots = [slot for piece in self.pieces for slot in piece.slots]
        if sum(piece.has_document for piece in self.pieces) != 1 or not {"document", "text"} & set(slots):
            raise ValueError("the document's text must be in one piece: put {document}, or {title} and {text}, there")
        if "query" not in slots:
            raise ValueError("no piece has the query: put {query} into one")
        if ("instruction" in slots) != (self.instruction is not None):
            raise ValueError(
                "a template with the slot {instruction} needs an instruction for requests without one, "
                "and only such a template takes one"
            )
        if self.special_tokens == "pair" and (
            len(self.pieces) != 2 or self.pieces[0].has_document or "query" in self.pieces[1].slots
        ):
            raise ValueError("a text pair has two pieces, the query's and the document's")
        return self

    @property
    def takes_instruction(self) -> bool:
        return self.instruction is not None or any(piece.with_instruction for piece in self.pieces)

    @property
    def marks(self) -> frozenset[str]:
        """Special tokens that the pieces spell, such as <|im_start|>."""
        literals = (literal for piece in self.pieces for literal, _ in piece.parts)
        return frozenset(mark for literal in literals for mark in _MARKS.findall(literal))

    @property
    def text(self) -> str:
        """All pieces as one format string."""
        return "".join(piece.text for piece in self.pieces)

    @cached_property
    def document_place(self) -> int:
        """Index of the piece with the document."""
        return next(place for place, piece in enumerate(self.pieces) if piece.has_document)

    def query(self, query: str, instruction: str | None = None) -> str:
        """The first piece; of a text pair, its first text."""
        return self.pieces[0].around(query, self._or_default(instruction)).before

    def passage(self, passage: Passage) -> str:
        """The piece with the document; of a text pair, its second text."""
        before, after = self.pieces[self.document_place].around("", self._or_default(None))
        return before + self.pieces[self.document_place].document(passage) + after

    def _or_default(self, instruction: str | None) -> str:
        return (self.instruction or "") if instruction is None else instruction


def _filled(parts: tuple[tuple[str, str | None], ...], values: Mapping[str, str]) -> str:
    return "".join(literal + ("" if slot is None else values[slot]) for literal, slot in parts)


def _pair(name: str, query: str, document: str) -> PromptTemplate:
    return PromptTemplate(name=name, pieces=(Piece(text=query), Piece(text=document)))


# With an empty title two spaces follow "document:": the model was trained on that.
DEAR = _pair("dear", "query: {query}", "document: {title} {text}")
# The texts alone, as BGE and MS MARCO cross-encoders expect.
BARE = _pair("bare", "{query}", "{document}")

TEMPLATES: Mapping[str, PromptTemplate] = MappingProxyType({t.name: t for t in (DEAR, BARE)})


def template_named(name: str) -> PromptTemplate:
    """Raises ValueError for a name that is not in TEMPLATES."""
    if name not in TEMPLATES:
        raise ValueError(f"template {name!r} is not known: use one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]
