"""What is asked: real words, as long as those a reranker meets, and no query twice.

A pair is a query with a document, so no two requests share one, and no cache of pairs or prefixes can answer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cluster.bench.workload import PASSAGE_TOKENS, QUERY_TOKENS, Windows, plain_tokenizer
from cluster.sample import SAMPLE
from reranker.ir.trec import iter_corpus, read_queries

_PASSAGES = 8_000
_QUERIES = 64
# Blocks of one size that are made beforehand: fewer of the large ones, so that they take some 10 MB a size.
_DOCUMENTS_A_SIZE = 20_000
_BLOCKS_AT_MOST = 512


@dataclass(frozen=True, slots=True)
class Block:
    """The documents of one request, and the same as a JSON array."""

    documents: tuple[str, ...]
    json: bytes


class Texts:
    """Draws queries and blocks of documents. Blocks come again, each time under another query."""

    def __init__(self, seed: int) -> None:
        tokenizer, self._rng = plain_tokenizer(), np.random.default_rng(seed)
        corpus = [passage.text for _, passage in iter_corpus(SAMPLE / "corpus.jsonl")]
        queries = list(read_queries(SAMPLE / "queries.jsonl").values())
        self._passages = Windows(corpus, tokenizer, self._rng).take(PASSAGE_TOKENS, _PASSAGES)
        self._queries = Windows(queries, tokenizer, self._rng).take(QUERY_TOKENS, _QUERIES)
        self._json = [json.dumps(passage).encode() for passage in self._passages]
        self._blocks: dict[int, list[Block]] = defaultdict(list)
        self._asked = 0

    def query(self) -> str:
        """Starts with a number that no query had before."""
        self._asked += 1
        return f"{self._asked} {self._queries[self._asked % len(self._queries)]}"

    def prepare(self, size: int) -> None:
        """Make the blocks of this size, so that `block` only looks one up."""
        count = int(np.clip(_DOCUMENTS_A_SIZE // size, 1, _BLOCKS_AT_MOST))
        while len(self._blocks[size]) < count:
            chosen = self._rng.choice(_PASSAGES, size, replace=size > _PASSAGES)
            documents = tuple(self._passages[number] for number in chosen)
            self._blocks[size].append(Block(documents, b"[" + b",".join(self._json[n] for n in chosen) + b"]"))

    def block(self, size: int) -> Block:
        self.prepare(size)
        blocks = self._blocks[size]
        return blocks[self._asked % len(blocks)]
