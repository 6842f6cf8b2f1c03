"""Forward passes over one checkpoint's weights."""

from typing import Protocol

from reranker.types import EncodedPairs, FloatArray


class ScoringModel(Protocol):
    """One forward pass. It never sorts, splits or waits: that is the engine's part."""

    pads: bool
    """Whether a batch costs its longest pair times its size, rather than the sum of its lengths."""

    def __call__(self, pairs: EncodedPairs) -> FloatArray:
        """Logits of at least one pair, float32 (pairs,), in the order of the pairs."""
        ...
