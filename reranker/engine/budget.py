"""How many tokens a batch should have, from how long its forward passes take.

Pure: the caller measures. Larger batches use a device better up to a point, and a small request waits for the batch
before it, which nothing interrupts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MIN_GAIN = 0.03
# Smaller passes leave any device partly idle; a busy machine's slow passes must not choose them.
MIN_PASS_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Budget:
    """tokens: of a batch. seconds: how long a batch of that size was measured to take."""

    tokens: int
    seconds: float


def choose_budget(measure: Callable[[int], float], smallest: int, largest: int, max_pass_s: float) -> Budget:
    """Doubles the tokens from `smallest` up to `largest`, until it gains too few tokens per second or takes too long.

    measure: seconds of a batch of so many tokens; infinite if it does not fit the device. Called for `smallest`, then
    for at most log2(largest / smallest) larger ones in ascending order; where twice the tokens take at most twice the
    time, none of these takes longer than twice `max_pass_s`. A batch of `smallest` may take any time.
    """
    best = Budget(smallest, measure(smallest))
    while best.tokens < largest and best.seconds < max_pass_s:
        tokens = min(2 * best.tokens, largest)
        larger = Budget(tokens, measure(tokens))
        gains = larger.tokens * best.seconds >= (1 + MIN_GAIN) * best.tokens * larger.seconds
        if larger.seconds > max_pass_s or not gains:
            break
        best = larger
    return best
