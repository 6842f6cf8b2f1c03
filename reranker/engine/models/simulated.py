"""A model without weights that sleeps as long as a device would compute: to benchmark and test everything else."""

from __future__ import annotations

import time
import zlib
from functools import partial

import torch
from torch import Tensor

from reranker.engine.models import ForwardPass
from reranker.pairs import EncodedPairs, IntArray


class SimulatedModel:
    """See ScoringModel. Logits, in [-8, 8), are a checksum of each pair's token ids."""

    pads = False

    def __init__(self, tokens_per_s: float) -> None:
        self._tokens_per_s = tokens_per_s

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        return partial(self._run, pairs)

    def _run(self, pairs: EncodedPairs) -> Tensor:
        end = time.monotonic() + float(pairs.lengths.sum()) / self._tokens_per_s
        checksums = [zlib.crc32(pairs.pair_ids(pair).tobytes()) for pair in range(len(pairs))]
        logits = torch.tensor(checksums, dtype=torch.float64) / 2**28 - 8
        time.sleep(max(0.0, end - time.monotonic()))
        return logits.to(torch.float32)

    def clear_cache(self) -> None:
        """There is no cache."""
