"""The tokenizer deployment: odd long texts wait for each other, and everything else passes them."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from deployments.tokenizer import Tokenizer
from reranker.checkpoints.encoders import load_encoder
from reranker.errors import Overloaded, UnscorableDocument
from reranker.pair_encoder import PairEncoder
from reranker.pairs import EncodedPairs
from reranker.settings import CheckpointSettings
from reranker.types import PairOptions, Passage, Truncation


class FakeEncoder:
    """Meets PairEncoder: tokenizes every text whole. Long ones end when `go` is set; most: how many ran at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.running = self.most = 0

    def encode(
        self,
        query: str,
        passages: Sequence[Passage],
        *,
        truncation: Truncation,
        max_whole_chars: int,
        instruction: str | None,
        max_pair_tokens: int | None,
    ) -> EncodedPairs:
        if max(passage.chars for passage in passages) > max_whole_chars:
            raise UnscorableDocument(0, "is too long")
        if passages[0].chars > 2**17:
            self.running += 1
            self.most = max(self.most, self.running)
            assert self.go.wait(10)
            self.running -= 1
        none = np.empty(0, dtype=np.int32)
        starts = np.zeros(1, dtype=np.int64)
        return EncodedPairs(none, starts, none, none, starts, none, np.empty(0, dtype=bool))


async def test_whole_texts_are_tokenized_one_at_a_time_and_few_of_them_wait() -> None:
    encoder = FakeEncoder()
    tokenizer = Tokenizer(CheckpointSettings(), cast(PairEncoder, encoder))

    def encode(chars: int) -> asyncio.Task[Any]:
        return asyncio.create_task(tokenizer.encode("q", [Passage("a" * chars)], PairOptions()))

    long = [encode(200_000) for _ in range(8)]
    await encode(10)
    done, waiting = await asyncio.wait(long, timeout=0.2)
    assert (len(done), len(waiting)) == (4, 4)
    assert all(isinstance(task.exception(), Overloaded) for task in done)
    encoder.go.set()
    assert len(await asyncio.gather(*waiting)) == 4
    assert encoder.most == 1
    with pytest.raises(UnscorableDocument):
        await encode(2_000_000)
    await encode(200_000)


async def test_pairs_with_queries_of_their_own_are_encoded_as_if_each_came_alone() -> None:
    encoder = load_encoder(CheckpointSettings())
    queries = ("tide", "tide", "bread", "tide")
    passages = [Passage(text) for text in ("high water", "yeast", "yeast", "low water")]
    shard = await Tokenizer(CheckpointSettings(), encoder).encode(queries, passages, PairOptions())
    assert shard.pairs.candidates == 4
    for number, (query, passage) in enumerate(zip(queries, passages, strict=True)):
        assert shard.pairs.pair_ids(number).tolist() == encoder.encode(query, [passage]).pair_ids(0).tolist()


async def test_document_that_cannot_be_encoded_is_named_by_its_place_among_all() -> None:
    tokenizer = Tokenizer(CheckpointSettings(), cast(PairEncoder, FakeEncoder()))
    with pytest.raises(UnscorableDocument) as caught:
        await tokenizer.encode(("a", "b", "c"), [Passage(""), Passage(""), Passage("x" * 2_000_000)], PairOptions())
    assert caught.value.index == 2
