"""Forward passes over one checkpoint's weights."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from reranker.pairs import EncodedPairs

ForwardPass = Callable[[], Tensor]


class ScoringModel(Protocol):
    """One forward pass. It never sorts, splits or waits: that is the engine's part."""

    pads: bool
    """Whether a batch costs its longest pair times its size, rather than the sum of its lengths."""

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        """A pass over at least one pair. It returns logits, float32 (pairs,), in the order of the pairs.

        They are on the device and may still be in the making: reading them waits, launching the next pass does not.
        Passes may run side by side, but `prepare`, which may keep something for later passes, must not.
        """
        ...

    def clear_cache(self) -> None:
        """Drop what was kept of earlier passes, so that none of them can change the rounding of the next."""
        ...
