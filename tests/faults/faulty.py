"""A scorer that can be made faulty while it serves: it looks for a file named after a fault and its own pid."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch

from deployments.scorer import Scorer
from reranker.pairs import EncodedPairs, FloatArray
from reranker.settings import CheckpointSettings, ScorerSettings
from reranker.types import Passage

SLOW, STALLED, CORRUPT = "slow", "stalled", "corrupt"
SLOWDOWN = 10
POISON = "yeast"


class FaultyScorer(Scorer):
    """faults: the directory of these files. stall_timeout_s: as for ScoringLoop.

    Passages with the word POISON never have a finite score.
    """

    def __init__(
        self, checkpoint: CheckpointSettings, engine: ScorerSettings, faults: str, stall_timeout_s: float = 60
    ) -> None:
        super().__init__(checkpoint, engine)
        self._faults = Path(faults)
        (self._poison,) = set(self._ids(POISON)) - set(self._ids("word"))
        self._loop = self._new_loop(self._pass, stall_timeout_s)

    def _pass(self, pairs: EncodedPairs) -> FloatArray:
        if self._has(CORRUPT):
            self._corrupt_weights()
        started = time.monotonic()
        logits = self._loaded.engine.score(pairs)
        if self._has(SLOW):
            time.sleep((SLOWDOWN - 1) * (time.monotonic() - started))
        while self._has(STALLED):
            time.sleep(0.1)
        poisoned = [pair for pair in range(len(pairs)) if self._poison in pairs.pair_ids(pair)]
        logits[poisoned] = np.nan
        return logits

    def _has(self, fault: str) -> bool:
        return (self._faults / f"{fault}-{os.getpid()}").exists()

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._loaded.encoder.encode("q", [Passage(text)]).pair_ids(0).tolist()
        return ids

    def _corrupt_weights(self) -> None:
        """Like a GPU with broken memory: the model gives only NaN from now on, for its golden pairs too."""
        with torch.inference_mode():
            for weight in vars(self._loaded.engine._model).values():
                if isinstance(weight, torch.Tensor):
                    weight.fill_(torch.nan)


def inject(fault: str, pid: int, faults: Path) -> None:
    """Give the replica with this pid the fault, from its next forward pass on."""
    (faults / f"{fault}-{pid}").touch()
