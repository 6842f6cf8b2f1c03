"""A batch of pairs laid end to end: which token stands where, and which tokens attend to which.

Pure index arithmetic in numpy; the forwards turn it into tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reranker.pairs import IntArray, OffsetArray, offsets


@dataclass(frozen=True, slots=True)
class Sequences:
    """Token sequences end to end, without padding, those of one prefix side by side and long ones first.

    ids: int32 (tokens,), what a forward pass computes. starts: int64 (sequences + 1,), offsets into ids.
    slot: int32 (sequences,), which prefix a sequence goes on from, -1 for none. before: int32 (sequences,), tokens
    of that prefix. origin: (sequences,), each one's place in the caller's order.
    """

    ids: IntArray
    starts: OffsetArray
    slot: IntArray
    before: IntArray
    origin: np.ndarray

    def __len__(self) -> int:
        return len(self.slot)

    @property
    def lengths(self) -> OffsetArray:
        """int64 (sequences,), own tokens without the prefix."""
        return np.diff(self.starts)

    @property
    def positions(self) -> OffsetArray:
        """int64 (tokens,), each token's position in its whole pair."""
        lengths = self.lengths
        return np.arange(self.starts[-1]) - np.repeat(self.starts[:-1] - self.before, lengths)

    @classmethod
    def lay(
        cls, parts: Sequence[IntArray], slot: IntArray | None = None, before: IntArray | None = None
    ) -> Sequences:
        """parts: each sequence's own ids. slot, before: as above; without them no sequence has a prefix."""
        slot = np.full(len(parts), -1, dtype=np.int32) if slot is None else slot
        before = np.zeros(len(parts), dtype=np.int32) if before is None else before
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        origin = np.lexsort((-lengths, slot))
        return cls(
            ids=np.concatenate([parts[n] for n in origin]),
            starts=offsets(lengths[origin]),
            slot=slot[origin],
            before=before[origin],
            origin=origin,
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring sequences that attend in one set of matrix products.

    first, last: sequences first..last-1, all with the prefix `slot` of `before` tokens (-1, 0: none).
    rows: int64 (sequences * longest,), the packed row of each padded position (padding repeats row `start`);
    None where all are of one length, so that rows start..end are the padded layout already.
    kept: int64 (end - start,), the padded position of each packed row; None likewise.
    """

    first: int
    last: int
    slot: int
    before: int
    start: int
    end: int
    longest: int
    rows: np.ndarray | None
    kept: np.ndarray | None

    @property
    def count(self) -> int:
        return self.last - self.first


def blocks(sequences: Sequences, max_scores: int, step: int = 1) -> Iterator[Block]:
    """Blocks that cover all sequences in order.

    max_scores: bound on a block's attention scores of one head, sequences * longest * keys; a longer sequence is a
    block of its own. step: a block's `longest` is a multiple of it. Within a block, padding is what the shorter
    sequences lack.
    """
    lengths = sequences.lengths
    first = 0
    while first < len(sequences):
        longest, before = math.ceil(lengths[first] / step) * step, int(sequences.before[first])
        fits = max(1, max_scores // (longest * (before + longest)))
        same = np.flatnonzero(sequences.slot[first:] != sequences.slot[first])
        last = first + min(fits, int(same[0]) if len(same) else len(sequences) - first)
        yield _block(sequences, first, last, longest, before)
        first = last


def _block(sequences: Sequences, first: int, last: int, longest: int, before: int) -> Block:
    start, end = int(sequences.starts[first]), int(sequences.starts[last])
    lengths = sequences.lengths[first:last]
    rows = kept = None
    if lengths[-1] != longest:
        within = np.arange(longest) < lengths[:, None]
        rows = np.where(within, sequences.starts[first:last, None] + np.arange(longest), start).reshape(-1)
        kept = np.flatnonzero(within)
    slot = int(sequences.slot[first])
    return Block(first, last, slot, before, start, end, longest, rows, kept)
