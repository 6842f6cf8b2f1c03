"""At which token a decoder's logit is read, and which tokens of the pairs are computed for it. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reranker.encoding import PadToken
from reranker.engine.models.packed import Sequences
from reranker.pairs import BoolArray, EncodedPairs, IntArray, OffsetArray


@dataclass(frozen=True, slots=True)
class PooledToken:
    """pad: read logits at this pad token; None reads them at the last token. pad_token_id: of the config."""

    pad: PadToken | None
    pad_token_id: int | None

    def is_padded(self, pairs: EncodedPairs) -> BoolArray:
        """bool (pairs,), whether the logit is read at a pad token: not for a pair that fills the max length."""
        return pairs.lengths <= (-1 if self.pad is None else self.pad.position)

    def split(self, pairs: EncodedPairs) -> tuple[Sequences, list[IntArray]]:
        """The sequences to compute per pair, and the token ids of the unique prefixes that they continue.

        A pair whose pooled token is in its prefix (an empty passage, or one of pad tokens) is computed as a whole.
        """
        index_of: dict[bytes, int] = {}  # by token ids: shards of one request repeat the same prefix
        parts, prefix_of, prefix_lengths = [], [], []
        prefix_ids: list[IntArray] = []
        is_padded = self.is_padded(pairs)
        for pair in range(len(pairs)):
            prefix = int(pairs.prefix_of[pair])
            start, end = pairs.prefix_offsets[prefix : prefix + 2]
            passage_ids = pairs.passage_ids[pairs.passage_offsets[pair] : pairs.passage_offsets[pair + 1]]
            pooled = len(passage_ids) - 1 if is_padded[pair] else self._pooled_position(passage_ids)
            if pooled < 0:
                pair_ids = pairs.pair_ids(pair)
                kept = len(pair_ids) if is_padded[pair] else max(0, self._pooled_position(pair_ids)) + 1
                parts.append(pair_ids[:kept])
                prefix_of.append(-1)
                prefix_lengths.append(0)
                continue
            shared = pairs.prefix_ids[start:end]
            index = index_of.setdefault(shared.tobytes(), len(prefix_ids))
            if index == len(prefix_ids):
                prefix_ids.append(shared)
            parts.append(passage_ids[: pooled + 1])
            prefix_of.append(index)
            prefix_lengths.append(int(end - start))
        sequences = Sequences.pack(
            parts, np.array(prefix_of, dtype=np.int32), np.array(prefix_lengths, dtype=np.int32)
        )
        return sequences, prefix_ids

    def _pooled_position(self, ids: IntArray) -> int:
        """Where Hugging Face reads the logit: the last token that is not the pad token; -1 if there is none."""
        if self.pad_token_id is None:
            return len(ids) - 1
        text = np.flatnonzero(ids != self.pad_token_id)
        return int(text[-1]) if len(text) else -1


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
