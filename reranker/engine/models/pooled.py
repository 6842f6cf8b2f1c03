"""At which token a decoder's logit is read, and which tokens of the pairs are computed for it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reranker.engine.models.packed import Sequences
from reranker.layout import PadToken
from reranker.pairs import BoolArray, EncodedPairs, IntArray, OffsetArray


class Parts(NamedTuple):
    """What is computed for some pairs.

    rows: int64 (sequences,), the packed row of each sequence's pooled token. prefix_ids: token ids of the unique
    prefixes that the sequences continue.
    """

    sequences: Sequences
    rows: OffsetArray
    prefix_ids: list[IntArray]


@dataclass(frozen=True, slots=True)
class PooledToken:
    """pad: read logits at this pad token; None reads them at the last token. skipped_id: id of tokens at a pair's end
    that are not taken for its last one, None for none. whole: every token is computed, because tokens attend to later
    ones, or all are read; else prefixes are shared, and nothing is computed after the pooled token.
    """

    pad: PadToken | None
    skipped_id: int | None
    whole: bool = False

    def is_padded(self, pairs: EncodedPairs) -> BoolArray:
        """bool (pairs,), whether the logit is read at a pad token: not for a pair that fills the max length."""
        return pairs.lengths <= (-1 if self.pad is None else self.pad.position)

    def split(self, pairs: EncodedPairs) -> Parts:
        """The sequences to compute for pairs.

        A pair without a prefix, or whose pooled token is in it (the passage is empty or has only pad tokens), has a
        sequence of all its tokens.
        """
        index_of: dict[bytes, int] = {}  # by token ids: shards of one request repeat the same prefix
        parts, pooled_at, prefix_of, prefix_lengths = [], [], [], []
        prefix_ids: list[IntArray] = []
        is_padded = self.is_padded(pairs)
        for pair in range(len(pairs)):
            prefix = int(pairs.prefix_of[pair])
            start, end = pairs.prefix_offsets[prefix : prefix + 2]
            part = pairs.passage_ids[pairs.passage_offsets[pair] : pairs.passage_offsets[pair + 1]]
            pooled = self._last(part, is_padded[pair])
            index = -1
            if self.whole or pooled < 0 or start == end:
                part = pairs.pair_ids(pair)
                pooled = max(0, self._last(part, is_padded[pair]))
            else:
                shared = pairs.prefix_ids[start:end]
                index = index_of.setdefault(shared.tobytes(), len(prefix_ids))
                if index == len(prefix_ids):
                    prefix_ids.append(shared)
            parts.append(part if self.whole else part[: pooled + 1])
            pooled_at.append(pooled)
            prefix_of.append(index)
            prefix_lengths.append(0 if index < 0 else int(end - start))
        sequences = Sequences.pack(
            parts, np.array(prefix_of, dtype=np.int32), np.array(prefix_lengths, dtype=np.int32)
        )
        rows = sequences.starts[:-1] + np.array(pooled_at, dtype=np.int64)[sequences.input_index]
        return Parts(sequences, rows, prefix_ids)

    def _last(self, ids: IntArray, is_padded: bool) -> int:
        """Index of the last token that is not skipped, or of the last one if a pad token follows; -1 without any."""
        if self.skipped_id is None or is_padded:
            return len(ids) - 1
        kept = np.flatnonzero(ids != self.skipped_id)
        return int(kept[-1]) if len(kept) else -1


@dataclass(frozen=True, slots=True)
class Pads:
    """The pad token of a pass. is_read: bool (sequences,), whether a sequence's logit is read at it."""

    token: PadToken
    is_read: BoolArray

    def behind(
        self, ids: IntArray, positions: OffsetArray, last: OffsetArray
    ) -> tuple[IntArray, OffsetArray, OffsetArray]:
        """Ids and positions with a pad token for each sequence behind them, and the row of each pooled token.

        ids, positions: (tokens,). last: (sequences,), row of each sequence's last token.
        """
        count = len(last)
        return (
            np.concatenate((ids, np.full(count, self.token.token_id, dtype=ids.dtype))),
            np.concatenate((positions, np.full(count, self.token.position))),
            np.where(self.is_read, len(ids) + np.arange(count), last),
        )
