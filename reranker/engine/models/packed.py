"""Packed sequences: the tokens of a batch concatenated without padding, and the blocks that attend together.

Pure index arithmetic in numpy; the forwards turn it into tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reranker.layout import PairLayout
from reranker.pairs import IntArray, OffsetArray, offsets


@dataclass(frozen=True, slots=True)
class Sequences:
    """Token sequences concatenated without padding, grouped by prefix, longest first within a group.

    ids: int32 (tokens,), the tokens a forward pass computes. starts: int64 (sequences + 1,), offsets into ids.
    prefix_of: int32 (sequences,), index of the prefix that a sequence continues, -1 for none. prefix_lengths: int32
    (sequences,), tokens of that prefix. input_index: (sequences,), index of each sequence in the caller's order.
    """

    ids: IntArray
    starts: OffsetArray
    prefix_of: IntArray
    prefix_lengths: IntArray
    input_index: np.ndarray

    def __len__(self) -> int:
        return len(self.prefix_of)

    @property
    def lengths(self) -> OffsetArray:
        """int64 (sequences,), tokens of each sequence without its prefix."""
        return np.diff(self.starts)

    @property
    def positions(self) -> OffsetArray:
        """int64 (tokens,), each token's position, counted from the start of its prefix."""
        lengths = self.lengths
        return np.arange(self.starts[-1]) - np.repeat(self.starts[:-1] - self.prefix_lengths, lengths)

    @classmethod
    def pack(
        cls, parts: Sequence[IntArray], prefix_of: IntArray | None = None, prefix_lengths: IntArray | None = None
    ) -> Sequences:
        """parts: token ids of each sequence without its prefix. No prefix_of: no sequence has a prefix."""
        prefix_of = np.full(len(parts), -1, dtype=np.int32) if prefix_of is None else prefix_of
        prefix_lengths = np.zeros(len(parts), dtype=np.int32) if prefix_lengths is None else prefix_lengths
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        order = np.lexsort((-lengths, prefix_of))
        return cls(
            ids=np.concatenate([parts[n] for n in order]),
            starts=offsets(lengths[order]),
            prefix_of=prefix_of[order],
            prefix_lengths=prefix_lengths[order],
            input_index=order,
        )


def token_types(sequences: Sequences, prefix_lengths: IntArray, layout: PairLayout) -> np.ndarray:
    """Token type of every token of whole pairs, int64 (tokens,). prefix_lengths: of the pairs, in input order."""
    switch = prefix_lengths[sequences.input_index] - layout.middle_passage_typed
    passage = sequences.positions >= np.repeat(switch, sequences.lengths)
    return np.where(passage, layout.passage_type, layout.prefix_type)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive sequences with one prefix, padded to one length so that they attend in one set of matrix products.

    first, last: sequences first..last-1. prefix, prefix_length: index and tokens of their prefix; -1 and 0 for none.
    start, end: their packed rows start..end-1. longest: the padded length.
    pad_index: int64 (sequences * longest,), the packed row of each padded position (padding repeats row `start`).
    unpad_index: int64 (end - start,), the padded position of each packed row, from `start` on.
    Both are None when all sequences are as long as `longest`: packed and padded rows are then the same.
    """

    first: int
    last: int
    prefix: int
    prefix_length: int
    start: int
    end: int
    longest: int
    pad_index: np.ndarray | None
    unpad_index: np.ndarray | None

    @property
    def count(self) -> int:
        return self.last - self.first


def blocks(sequences: Sequences, max_scores: int, step: int = 1) -> Iterator[Block]:
    """Blocks that cover all sequences in order.

    max_scores: bound on a block's attention scores per head, sequences * longest * keys; a sequence that exceeds it
    gets a block of its own. step: `longest` is rounded up to a multiple of it. A block of several sequences has no
    more padded rows than all sequences have tokens: memory is planned for that.
    """
    lengths = sequences.lengths
    first = 0
    while first < len(sequences):
        longest, prefix_length = math.ceil(lengths[first] / step) * step, int(sequences.prefix_lengths[first])
        fits = max(1, min(max_scores // (longest * (prefix_length + longest)), len(sequences.ids) // longest))
        others = np.flatnonzero(sequences.prefix_of[first:] != sequences.prefix_of[first])
        last = first + min(fits, int(others[0]) if len(others) else len(sequences) - first)
        yield _block(sequences, first, last, longest, prefix_length)
        first = last


def _block(sequences: Sequences, first: int, last: int, longest: int, prefix_length: int) -> Block:
    start, end = int(sequences.starts[first]), int(sequences.starts[last])
    lengths = sequences.lengths[first:last]
    pad_index = unpad_index = None
    if lengths[-1] != longest:
        is_token = np.arange(longest) < lengths[:, None]
        pad_index = np.where(is_token, sequences.starts[first:last, None] + np.arange(longest), start).reshape(-1)
        unpad_index = np.flatnonzero(is_token)
    prefix = int(sequences.prefix_of[first])
    return Block(first, last, prefix, prefix_length, start, end, longest, pad_index, unpad_index)
