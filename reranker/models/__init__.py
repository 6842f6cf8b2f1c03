"""Forward passes over one checkpoint's weights."""

from typing import Protocol

from torch import Tensor

from reranker.types import EncodedPairs


class ScoringModel(Protocol):
    """One forward pass. It never sorts, splits or waits: that is the engine's part."""

    pads: bool
    """Whether a batch costs its longest pair times its size, rather than the sum of its lengths."""

    def __call__(self, pairs: EncodedPairs) -> Tensor:
        """Logits of at least one pair, float32 (pairs,), in the order of the pairs.

        They are on the device and may still be in the making: reading them waits, launching the next pass does not.
        """
        ...

    def forget(self) -> None:
        """Drop what was kept of earlier passes, so that none of them can change the rounding of the next."""
        ...
