"""Whether logits agree with golden scores: exactly in float32, and as far as rounding allows in half precision.

Pure arithmetic over logits. docs/fidelity.md explains the bounds and the errors that they cannot show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reranker.pairs import FloatArray

FLOAT32_BOUND = 1e-4
# Half precision rounds differently on every machine. One pair may be wrong by a few times Hugging Face's own bfloat16
# error, and by at least two units in the last place (bfloat16) of the largest logit. The factors are ours.
_PAIR_ERROR_FACTOR = 4.0
_PAIR_ULPS = 2 * 2.0**-8
# Over all pairs rounding errors nearly cancel, so their mean, slope and root mean square are bounded far tighter, at
# this many standard errors. Right forwards of 25 checkpoints stayed below 1.7 and 1.9 of them, on CPUs with and
# without bfloat16.
_MEAN_ERRORS = 5.0
_RMS_ERRORS = 4.0
_MIN_PAIRS = 8  # fewer say nothing about how errors are distributed


@dataclass(frozen=True, slots=True)
class Bounds:
    """What rounding explains, in logits. scale: of the slope of the errors over the golden logits, a plain number.

    Infinite where golden pairs are too few or too alike to tell.
    """

    pair: float
    rms: float = math.inf
    shift: float = math.inf
    scale: float = math.inf

    def hidden(self, dtype: str) -> str:
        """What these bounds cannot show, for clients."""
        if math.isinf(self.rms):
            return f"errors below {self.pair:.2g} logits"
        return (
            f"in {dtype} rounding hides a constant error below {self.shift:.2g} logits, a factor within "
            f"{self.scale:.2%} of 1, and other errors below {self.rms:.2g} rms: a similar activation or another "
            "epsilon of the norms may be among them, and is checked only by import and in float32"
        )


def bounds(truth: FloatArray, half: FloatArray | None) -> Bounds:
    """truth: golden logits in float32. half: Hugging Face's in bfloat16, or None for an engine in float32."""
    if half is None:
        return Bounds(FLOAT32_BOUND)
    errors = half - truth
    largest = float(np.abs(errors).max())
    pair = max(_PAIR_ERROR_FACTOR * largest, _PAIR_ULPS * float(np.abs(truth).max()))
    count, spread = len(truth), float(truth.std())
    if count < _MIN_PAIRS:
        return Bounds(pair)
    shift, scale = _fit(errors, truth)
    noise = errors - shift - scale * (truth - truth.mean())
    rounding = _rounding(truth)
    common = math.sqrt(float(np.square(noise).sum()) / (count - 2))
    deviations = np.maximum(common, rounding)  # large logits are rounded more, and weigh more in the slope
    centred = truth - truth.mean()
    # The difference of two roundings varies by sqrt(2) more than one, the quotient of their rms by 1/sqrt(count).
    mean_bound = _MEAN_ERRORS * math.sqrt(2)
    return Bounds(
        pair,
        rms=math.exp(_RMS_ERRORS / math.sqrt(count)) * max(_rms(errors), _rms(rounding)),
        shift=mean_bound * _rms(deviations) / math.sqrt(count),
        scale=mean_bound * _rms(deviations * centred) / (math.sqrt(count) * spread**2)
        if spread > common
        else math.inf,
    )


def disagreement(logits: FloatArray, truth: FloatArray, half: FloatArray | None, dtype: str) -> str | None:
    """How logits differ from the golden ones by more than rounding explains; None if they agree.

    half: as of `bounds`. Where an engine runs in bfloat16, Hugging Face's bfloat16 logits tell what is common to all
    of them: the rounding of the weights.
    """
    limit = bounds(truth, half)
    errors = logits - truth
    if not np.all(np.abs(errors) <= limit.pair):  # true as well when an error is NaN
        worst = int(np.argmax(np.nan_to_num(np.abs(errors), nan=np.inf)))
        return (
            f"golden pair {worst} scores {logits[worst]:.5g} where Hugging Face gave {truth[worst]:.5g} "
            f"({dtype}, bound {limit.pair:.2g})"
        )
    shift, scale = _fit(logits - half if half is not None and dtype == "bfloat16" else errors, truth)
    rms = _rms(errors)
    excess, problem = max(
        (abs(shift) / limit.shift, f"{shift:+.2g} off on average ({dtype}, rounding explains {limit.shift:.2g})"),
        (
            abs(scale) / limit.scale,
            f"off by a factor of {1 + scale:.4f} ({dtype}, rounding explains {limit.scale:.2%})",
        ),
        (rms / limit.rms, f"off by {rms:.2g} rms ({dtype}, rounding explains {limit.rms:.2g})"),
    )
    return f"golden scores are {problem}" if excess > 1 else None


def _fit(errors: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Mean of the errors, and slope of their regression on the golden logits."""
    centred = truth - truth.mean()
    return float(errors.mean()), float(errors @ centred) / max(float(centred @ centred), 1e-30)


def _rms(errors: FloatArray) -> float:
    return math.sqrt(float(np.square(errors).mean()))


def _rounding(logits: FloatArray) -> FloatArray:
    """Standard deviation of rounding each logit to bfloat16, which has 8 bits of precision."""
    ulps: FloatArray = np.exp2(np.floor(np.log2(np.maximum(np.abs(logits), 2.0**-20))) - 7)
    return ulps / np.float32(math.sqrt(12))
