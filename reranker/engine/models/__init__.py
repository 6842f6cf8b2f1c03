"""The protocol of a model's forward pass, and its implementations."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from reranker.pairs import EncodedPairs, IntArray

ForwardPass = Callable[[], Tensor]


class ScoringModel(Protocol):
    """Runs one batch. Sorting and splitting pairs into batches is the engine's task."""

    pads: bool
    """Whether a batch costs its size times its longest pair, rather than the sum of its lengths."""

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        """Tokens that pairs of these lengths take in a pass: int (pairs,)."""
        ...

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        """A forward pass over at least one pair. It returns logits, float32 (pairs,), in the order of the pairs.

        Logits are on the device and may not be computed yet: reading them waits, launching the next pass does not.
        Passes may run in parallel, but `prepare` must not: it may keep state for later passes.
        """
        ...

    def clear_cache(self) -> None:
        """Drop the state of earlier passes, so that they cannot change the rounding of the next one."""
        ...
