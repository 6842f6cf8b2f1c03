"""Texts to rerank in a benchmark: real words, with the lengths of web passages that BM25 retrieves.

Every request has a query and passages that no other request has, so that no cache helps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cluster.sample import SAMPLE
from reranker.checkpoints.files import load_tokenizer, locate
from reranker.errors import InvalidField
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries
from reranker.settings import CheckpointSettings
from reranker.types import Passage


@dataclass(frozen=True, slots=True)
class Histogram:
    """Text lengths in tokens: `counts[i]` texts have at least `start + i * width`, and fewer than the next bin."""

    start: int
    width: int
    counts: tuple[int, ...]

    def lengths(self, count: int, rng: np.random.Generator) -> list[int]:
        """`count` lengths in random order, one from each of `count` quantile ranges, so that draws differ little."""
        quantiles = (rng.permutation(count) + rng.random(count)) / count
        edges = self.start + self.width * np.arange(len(self.counts) + 1)
        cumulated = np.concatenate(([0], np.cumsum(self.counts))) / sum(self.counts)
        return [int(length) for length in np.interp(quantiles, cumulated, edges)]

    @property
    def max_length(self) -> int:
        return self.start + self.width * len(self.counts) - 1


# TREC Deep Learning 2019 (MS MARCO passages): 43 queries, and the 4,300 passages that BM25 puts on their first 100
# ranks, in tokens of the embedded model's tokenizer (BERT uncased) without special tokens. Passages: mean 85.2,
# median 75, from 19 to 263. Queries: mean 7.0, from 4 to 13.
PASSAGE_TOKENS = Histogram(
    start=16,
    width=8,
    counts=(
        *(9, 37, 101, 226, 432, 573, 570, 452, 269, 233, 203, 220, 203, 173, 151, 139),
        *(96, 57, 54, 36, 24, 13, 11, 6, 2, 5, 2, 0, 0, 1, 2),
    ),
)
QUERY_TOKENS = Histogram(start=4, width=1, counts=(7, 4, 7, 13, 2, 3, 3, 0, 3, 1))


@dataclass(frozen=True, slots=True)
class Request:
    """One query and the passages to score for it."""

    query: str
    passages: tuple[Passage, ...]


def sample_requests(count: int, documents: int, seed: int) -> list[Request]:
    """Requests of word windows from the bundled texts, with lengths drawn from PASSAGE_TOKENS and QUERY_TOKENS.

    No two windows start at the same word, so that no cache of texts or prefixes helps; a window may span two texts.
    Raises InvalidField when the texts are too few.
    """
    tokenizer = plain_tokenizer()
    rng = np.random.default_rng(seed)
    queries = Windows(list(read_queries(SAMPLE / "queries.jsonl").values()), tokenizer, rng)
    passages = Windows([passage.text for _, passage in iter_corpus(SAMPLE / "corpus.jsonl")], tokenizer, rng)
    return [
        Request(query, tuple(map(Passage, passages.take(PASSAGE_TOKENS, documents))))
        for query in queries.take(QUERY_TOKENS, count)
    ]


def plain_tokenizer() -> Tokenizer:
    """The embedded model's tokenizer, without truncation or padding; PASSAGE_TOKENS and QUERY_TOKENS use it."""
    backend = load_tokenizer(locate(CheckpointSettings(), weights=False)).backend_tokenizer
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class Windows:
    """Word windows from concatenated texts, each with a start of its own."""

    def __init__(self, texts: Sequence[str], tokenizer: Tokenizer, rng: np.random.Generator) -> None:
        self._words = " ".join(texts).split()
        encodings = tokenizer.encode_batch(self._words, add_special_tokens=False)
        # BERT's tokens never span a space, so a window's tokens are the sum of its words' tokens.
        self._tokens_before = np.concatenate(([0], np.cumsum([len(encoding.ids) for encoding in encodings])))
        self._rng = rng
        self._starts = rng.permutation(len(self._words)).tolist()

    def take(self, histogram: Histogram, count: int) -> list[str]:
        """`count` new windows with lengths drawn from the histogram, rounded to words. Raises InvalidField."""
        return [self._window(tokens, histogram.max_length) for tokens in histogram.lengths(count, self._rng)]

    def _window(self, tokens: int, max_tokens: int) -> str:
        while self._starts:
            start = self._starts.pop()
            before = self._tokens_before[start]
            if before + max_tokens <= self._tokens_before[-1]:
                end = int(np.searchsorted(self._tokens_before, before + tokens, side="right")) - 1
                return " ".join(self._words[start : max(start + 1, end)])
        raise InvalidField("--rounds", "the bundled texts are used up: choose fewer rounds, or give a --collection")


def collection_requests(directory: Path, count: int, documents: int, seed: int) -> list[Request]:
    """Queries of a collection in random order, each with the first `documents` candidates of its run.

    Raises InvalidFile for a file that cannot be read, InvalidField when there are fewer queries than rounds or the
    corpus lacks a docid of the run.
    """
    queries, run = read_queries(directory / "queries.jsonl"), read_run(directory / "run.trec")
    chosen = [query_id for query_id in run if query_id in queries]
    if len(chosen) < count:
        raise InvalidField("--rounds", f"{directory} has {len(chosen)} queries with candidates, {count} are needed")
    random.Random(seed).shuffle(chosen)  # noqa: S311  (an order, not a secret)
    wanted = {query_id: run[query_id][:documents] for query_id in chosen[:count]}
    needed = {docid for docids in wanted.values() for docid in docids}
    corpus = {docid: passage for docid, passage in iter_corpus(directory / "corpus.jsonl") if docid in needed}
    if missing := needed - set(corpus):
        raise InvalidField("--collection", f"{directory}: its corpus lacks passage {min(missing)!r} of its run")
    return [
        Request(queries[query_id], tuple(corpus[docid] for docid in docids)) for query_id, docids in wanted.items()
    ]
