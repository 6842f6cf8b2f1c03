"""Groups as token ids, and the micro-batches of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from reranker.pair_encoder import PairEncoder
from reranker.pairs import BoolArray, EncodedPairs, FloatArray, IntArray
from reranker.training.groups import SampledGroup, padded

PassageTokens = Callable[[IntArray], Sequence[IntArray]]
"""Positions of passages in the corpus -> their token ids, as `PairEncoder.tokenize_passages` returns them."""


@dataclass(frozen=True, slots=True)
class EncodedGroup:
    """A sampled group as the model reads it. labels, targets: float32 (pairs,)."""

    pairs: EncodedPairs
    labels: FloatArray
    targets: FloatArray

    @property
    def tokens(self) -> int:
        return int(self.pairs.lengths.sum())


def encode_group(encoder: PairEncoder, query: str, group: SampledGroup, tokens_of: PassageTokens) -> EncodedGroup:
    pairs = encoder.join(encoder.tokenize_query(query), tokens_of(group.passages))
    return EncodedGroup(pairs, group.labels, group.teacher)


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Groups whose pairs are scored in one forward.

    pairs: of all groups, in order. labels, targets: float32 (groups, longest). real: bool, false for padding.
    """

    pairs: EncodedPairs
    labels: FloatArray
    targets: FloatArray
    real: BoolArray

    @classmethod
    def of(cls, groups: Sequence[EncodedGroup]) -> Self:
        labels, real = padded([group.labels for group in groups])
        targets, _ = padded([group.targets for group in groups])
        return cls(EncodedPairs.concat([group.pairs for group in groups]), labels, targets, real)

    def places(self) -> np.ndarray:
        """Flat index into (groups, longest) of each pair, int64 (pairs,)."""
        return np.flatnonzero(self.real)


def micro_batches(groups: Sequence[EncodedGroup], max_tokens: int) -> list[MicroBatch]:
    """Consecutive groups with at most `max_tokens` together; a group of more gets a micro-batch of its own."""
    batches: list[list[EncodedGroup]] = []
    room = 0
    for group in groups:
        if not batches or group.tokens > room:
            batches.append([])
            room = max_tokens
        batches[-1].append(group)
        room -= group.tokens
    return [MicroBatch.of(batch) for batch in batches]
