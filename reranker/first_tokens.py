"""Tokenizes no more of a long text than its first tokens need.

Knows nothing of pairs or templates. A pair keeps some hundred tokens, and a text may have millions of characters. The
head of such a text is tokenized, and of its tokens those are taken that no continuation of the text can change:

- Fast tokenizers find added tokens, normalize, split the text into words and tokenize each word alone. So the tokens
  of a word are final once its boundaries are.
- Added tokens, normalizers and the regular expressions that find words look a little ahead: over the rest of a run
  of digits, spaces or other characters, or a few letters, seldom into the next run. So a word is taken only if a
  whole run or many letters follow it in the head, and twice the length of the longest added token.
- The head ends before a character that starts anew under Unicode normalization, and not in spaces, which a normalizer
  may strip.
- A tokenizer that does not split (Llama 2) has one word. In a BPE or Unigram model without a token that goes on after
  a character with "▁", tokens on both sides of such a place cannot depend on each other: it is as good a boundary.

If too few tokens are final the head grows, in the end to the whole text. `tests/reranker/test_first_tokens.py`
compares with the whole text, for tokenizers of each kind.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerBase

from reranker.errors import CheckpointError
from reranker.pairs import IntArray
from reranker.text import well_formed

_CHARS_PER_TOKEN = 8  # of the first head: enough for most scripts
_MIN_HEAD_CHARS = 512
_MAX_BATCHED_CHARS = 2**17  # a text beyond it is tokenized whole alone: it takes some 200 bytes a character
_GROWTH = 4
_MARGIN_CHARS = 64
_MAX_RUN_CHARS = 4_096
_MAX_MARKS = 64  # combining marks in a row
_SPACE = "▁"


class LongText(Exception):
    """The first tokens of a text need the whole of it, which is too long. index: of the text."""

    def __init__(self, index: int, limit_chars: int) -> None:
        super().__init__(index, limit_chars)
        self.index, self.limit_chars = index, limit_chars


class FirstTokens:
    """The tokens of texts, without special tokens. Thread-safe.

    backend: without truncation and padding; nobody else changes it.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        added = [token.content for token in backend.get_added_tokens_decoder().values()]
        self._margin = max([_MARGIN_CHARS, *(2 * len(content) for content in added)])
        self._spaces_split = _spaces_split(backend)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, embeddings: int | None = None) -> FirstTokens:
        """Of a fast tokenizer, as its own call tokenizes. embeddings: see `PairEncoder`. Raises CheckpointError."""
        # A copy, because truncation and padding are state of the backend, which the caller may change.
        backend = _without_unknown_tokens(tokenizer.backend_tokenizer, embeddings)
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = tokenizer.split_special_tokens
        return cls(backend)

    def ids(self, texts: Sequence[str], limit: int | None, max_whole_chars: int | None = None) -> list[IntArray]:
        """The first `limit` tokens of each text or more, or all that it has; None: all. int32 arrays.

        Raises LongText for a text of more than max_whole_chars whose first tokens need the whole of it.
        """
        heads = {} if limit is None else self._heads(texts, limit, max_whole_chars)
        ids = {n: np.array(encoding.ids[:final], dtype=np.int32) for n, (encoding, final) in heads.items()}
        rest = [n for n in range(len(texts)) if n not in ids]
        short = [n for n in rest if len(texts[n]) <= _MAX_BATCHED_CHARS]
        for batch in [short, *([n] for n in rest if n not in set(short))]:
            _check(texts, batch, limit or 0, max_whole_chars)
            whole = self._backend.encode_batch_fast([well_formed(texts[n]) for n in batch], add_special_tokens=False)
            ids |= {n: np.array(encoding.ids, dtype=np.int32) for n, encoding in zip(batch, whole, strict=True)}
        return [ids[n] for n in range(len(texts))]

    def starts(self, text: str, limit: int, max_whole_chars: int | None = None) -> list[int]:
        """Where the first `limit` tokens of a text or more begin, or all that it has, as indexes of characters.

        Raises LongText.
        """
        heads = self._heads([text], limit, max_whole_chars)
        if not heads:
            _check([text], [0], limit, max_whole_chars)
        encoding, final = heads.get(0) or (self._backend.encode(well_formed(text), add_special_tokens=False), None)
        return [start for start, _ in encoding.offsets[:final]]

    def _heads(
        self, texts: Sequence[str], limit: int, max_whole_chars: int | None
    ) -> dict[int, tuple[Encoding, int]]:
        """Encodings of heads with at least `limit` final tokens, and how many are final, by index of their text.

        Texts are missing that are short, or have no such head.
        """
        found: dict[int, tuple[Encoding, int]] = {}
        size = _first_head_chars(limit)
        pending = [n for n, text in enumerate(texts) if len(text) > size]
        while pending:
            heads = [_head(texts[n], size) for n in pending]
            encodings = self._backend.encode_batch(heads, add_special_tokens=False)
            for n, head, encoding in zip(pending, heads, encodings, strict=True):
                if (final := self._final(head, encoding)) >= limit:
                    found[n] = encoding, final
            size *= _GROWTH
            if max_whole_chars is not None and size > max_whole_chars:
                break
            pending = [n for n in pending if n not in found and len(texts[n]) > 2 * size]
        return found

    def _final(self, head: str, encoding: Encoding) -> int:
        """How many of a head's first tokens no continuation of it can change."""
        end = min(len(head) - self._margin, _last_whole_run(head))
        offsets, words = encoding.offsets, encoding.word_ids
        final = len(offsets) - 1  # at least one token must follow: the text after it may belong to the last word
        while final > 0 and offsets[final - 1][1] > end:
            final -= 1
        tokens = encoding.tokens if self._spaces_split else []
        while final > 0 and words[final - 1] == words[final] and not (tokens and _at_space(tokens, final)):
            final -= 1
        return max(final, 0)


def _first_head_chars(limit: int) -> int:
    return limit * _CHARS_PER_TOKEN + _MIN_HEAD_CHARS if limit else 0


def _check(texts: Sequence[str], batch: list[int], limit: int, max_whole_chars: int | None) -> None:
    """Raises LongText for the first text that is too long to be tokenized whole."""
    for n in batch:
        if max_whole_chars is not None and len(texts[n]) > max(max_whole_chars, _first_head_chars(limit)):
            raise LongText(n, max_whole_chars)


def _head(text: str, size: int) -> str:
    """The first `size` characters or a few more, but '' if they end among too many combining marks."""
    for end in range(size, min(size + _MAX_MARKS, len(text))):
        if not unicodedata.combining(text[end]):
            return well_formed(text[:end]).rstrip()
    return ""


def _last_whole_run(text: str) -> int:
    """Where the last but one run of characters of one kind begins: the last one may go on. 0 if too far away.

    A long run of letters, as Chinese has them, counts as several.
    """
    start = len(text)
    for _ in range(2):
        end = start
        while start > 0 and (start == end or _kind(text[start - 1]) == _kind(text[end - 1])):
            start -= 1
            if len(text) - start > _MAX_RUN_CHARS:
                return 0
            if end - start == _MARGIN_CHARS and text[start].isalpha():
                break
    return start


def _kind(char: str) -> str:
    if char.isspace():
        return "space"
    if char.isalpha():
        return "letter"
    return "digit" if char.isnumeric() else "other"


def _at_space(tokens: list[str], at: int) -> bool:
    """Whether a boundary lies between a token that does not end in a space and one that begins with it."""
    return tokens[at].startswith(_SPACE) and not tokens[at - 1].endswith(_SPACE)


def _spaces_split(backend: Tokenizer) -> bool:
    """Whether no token of a BPE or Unigram model goes on with a space after another character."""
    vocabulary = backend.get_vocab(with_added_tokens=False)
    return (
        isinstance(backend.model, BPE | Unigram)
        and _SPACE in vocabulary
        and not any(re.search(f"[^{_SPACE}]{_SPACE}", token) for token in vocabulary)
    )


def _without_unknown_tokens(backend: Tokenizer, embeddings: int | None) -> Tokenizer:
    """A copy without the added tokens that have no embedding. Raises CheckpointError if other tokens have none."""
    words, text = backend.get_vocab_size(with_added_tokens=False), backend.to_str()
    if embeddings is not None and words > embeddings:
        raise CheckpointError(
            f"its tokenizer has {words} tokens, its model {embeddings}: they do not belong together"
        )
    if embeddings is None or all(token < embeddings for token in backend.get_added_tokens_decoder()):
        return Tokenizer.from_str(text)
    parts = json.loads(text)
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["id"] < embeddings]
    return Tokenizer.from_str(json.dumps(parts))
