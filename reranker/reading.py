"""What of a text a model reads: the least part of it that gives the model the same tokens.

Knows nothing of templates, special tokens or rules of truncation. It asks the encoder: a text is cut where a shorter
beginning of it (or end, for a tokenizer that cuts at the left) still gives the very same pairs. So it is right for
every checkpoint, at the price of some twenty tokenizations of a text that is cut: for people who look, not for
the path of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reranker.pairs import EncodedPairs
from reranker.types import Passage, Truncation


class Encoder(Protocol):
    """The part of PairEncoder that is asked."""

    def encode(
        self, query: str, passages: Sequence[Passage], truncation: Truncation, max_whole_chars: int | None
    ) -> EncodedPairs: ...


class Span(NamedTuple):
    """Characters from start up to end, which is not included. A character is one code point."""

    start: int
    end: int


class PassageReading(NamedTuple):
    """What is read of one passage. tokens: of all its pairs, special tokens and query included."""

    title: Span
    text: Span
    truncated: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Reading:
    """query: what is read of it beside the passage that leaves it least room. passages: in input order."""

    query: Span
    passages: tuple[PassageReading, ...]


def read_spans(
    encoder: Encoder,
    query: str,
    passages: Sequence[Passage],
    truncation: Truncation = "model",
    max_whole_chars: int | None = None,
) -> Reading:
    """What the model reads of a query and of each of at least one passages. Raises as `PairEncoder.encode` does."""

    def keys(text: str, some: Sequence[Passage]) -> list[bytes]:
        return _keys(encoder.encode(text, some, truncation, max_whole_chars))

    pairs = encoder.encode(query, passages, truncation, max_whole_chars)
    wanted, prefixes = _keys(pairs), _first_of_each(pairs, pairs.prefix_lengths.tolist())
    truncated = [False] * len(passages)
    tokens = [0] * len(passages)
    for candidate, cut, length in zip(pairs.candidate_of, pairs.truncated, pairs.lengths, strict=True):
        truncated[candidate] |= bool(cut)
        tokens[candidate] += int(length)
    cut = [n for n in range(len(passages)) if truncated[n]]
    texts = [Span(0, len(passage.text)) for passage in passages]
    titles = [Span(0, len(passage.title)) for passage in passages]

    def narrow(spans: list[Span], which: list[int], part: Callable[[int, Span], Passage]) -> None:
        def same(asked: list[int], tried: list[Span]) -> list[bool]:
            got = keys(query, [part(n, span) for n, span in zip(asked, tried, strict=True)])
            return [key == wanted[n] for n, key in zip(asked, got, strict=True)]

        for n, span in _least(spans, which, same).items():
            spans[n] = span

    narrow(texts, cut, lambda n, span: passages[n]._replace(text=passages[n].text[span.start : span.end]))
    unread = [n for n in cut if texts[n].start == texts[n].end]
    narrow(titles, unread, lambda n, span: Passage("", passages[n].title[span.start : span.end]))

    query_span = Span(0, len(query))
    if cut:
        tightest = min(cut, key=prefixes.__getitem__)

        def same_query(_: list[int], tried: list[Span]) -> list[bool]:
            return [keys(query[s.start : s.end], [passages[tightest]]) == [wanted[tightest]] for s in tried]

        query_span = _least([query_span], [0], same_query)[0]
    return Reading(query_span, tuple(map(PassageReading, titles, texts, truncated, tokens)))


def _least(
    spans: Sequence[Span], which: Sequence[int], same: Callable[[list[int], list[Span]], list[bool]]
) -> dict[int, Span]:
    """The shortest of each span that is still the same: first its end is moved, then its start, by bisection."""
    low, high = {n: spans[n].start for n in which}, {n: spans[n].end for n in which}
    while pending := [n for n in which if low[n] < high[n]]:
        middle = {n: (low[n] + high[n]) // 2 for n in pending}
        answers = same(pending, [Span(spans[n].start, middle[n]) for n in pending])
        for n, is_same in zip(pending, answers, strict=True):
            if is_same:
                high[n] = middle[n]
            else:
                low[n] = middle[n] + 1
    ends = high
    low, high = {n: spans[n].start for n in which}, dict(ends)
    while pending := [n for n in which if low[n] < high[n]]:
        middle = {n: (low[n] + high[n] + 1) // 2 for n in pending}
        answers = same(pending, [Span(middle[n], ends[n]) for n in pending])
        for n, is_same in zip(pending, answers, strict=True):
            if is_same:
                low[n] = middle[n]
            else:
                high[n] = middle[n] - 1
    return {n: Span(low[n], ends[n]) for n in which}


def _keys(pairs: EncodedPairs) -> list[bytes]:
    """The tokens of all pairs of each candidate, as one value to compare."""
    keys = [b""] * pairs.candidates
    for pair, candidate in enumerate(pairs.candidate_of):
        ids = pairs.pair_ids(pair)
        keys[candidate] += len(ids).to_bytes(4, "little") + ids.tobytes()
    return keys


def _first_of_each(pairs: EncodedPairs, values: Sequence[int]) -> dict[int, int]:
    first: dict[int, int] = {}
    for candidate, value in zip(pairs.candidate_of, values, strict=True):
        first.setdefault(int(candidate), int(value))
    return first
