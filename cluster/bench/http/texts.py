"""Queries and documents of real words with realistic lengths; no query occurs twice.

No two requests therefore share a pair, so that no cache of pairs or prefixes helps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cluster.bench.workload import PASSAGE_TOKENS, QUERY_TOKENS, Windows, plain_tokenizer
from cluster.sample import SAMPLE
from reranker.ir.texts import iter_corpus, read_queries

_PASSAGES = 8_000
_QUERIES = 64
# Blocks prepared per size: fewer of the large ones, so that each size takes about 10 MB.
_DOCUMENTS_PER_SIZE = 20_000
_MAX_BLOCKS = 512


@dataclass(frozen=True, slots=True)
class Block:
    """The documents of one request, also encoded as a JSON array."""

    documents: tuple[str, ...]
    json: bytes


class Texts:
    """Draws queries and blocks of documents. Blocks repeat, each time with another query."""

    def __init__(self, seed: int) -> None:
        tokenizer, self._rng = plain_tokenizer(), np.random.default_rng(seed)
        corpus = [passage.text for _, passage in iter_corpus(SAMPLE / "corpus.jsonl")]
        queries = list(read_queries(SAMPLE / "queries.jsonl").values())
        self._passages = Windows(corpus, tokenizer, self._rng).take(PASSAGE_TOKENS, _PASSAGES)
        self._queries = Windows(queries, tokenizer, self._rng).take(QUERY_TOKENS, _QUERIES)
        self._json = [json.dumps(passage).encode() for passage in self._passages]
        self._blocks: dict[int, list[Block]] = defaultdict(list)
        self._queries_drawn = 0

    def query(self) -> str:
        """A new query; it starts with a number that no earlier query has."""
        self._queries_drawn += 1
        return f"{self._queries_drawn} {self._queries[self._queries_drawn % len(self._queries)]}"

    def prepare(self, size: int) -> None:
        """Create the blocks of this size, so that `block` only looks one up."""
        count = int(np.clip(_DOCUMENTS_PER_SIZE // size, 1, _MAX_BLOCKS))
        while len(self._blocks[size]) < count:
            chosen = self._rng.choice(_PASSAGES, size, replace=size > _PASSAGES)
            documents = tuple(self._passages[number] for number in chosen)
            self._blocks[size].append(Block(documents, b"[" + b",".join(self._json[n] for n in chosen) + b"]"))

    def block(self, size: int) -> Block:
        self.prepare(size)
        blocks = self._blocks[size]
        return blocks[self._queries_drawn % len(blocks)]
