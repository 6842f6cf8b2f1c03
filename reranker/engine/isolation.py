"""A batch whose forward pass fails: find the pairs that make it fail, and score the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from reranker.pairs import EncodedPairs, FloatArray

# A pair is not to blame for these: the device had no room for it at this moment.
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


def score_isolating(
    score: Callable[[EncodedPairs], FloatArray], pairs: EncodedPairs
) -> tuple[FloatArray, dict[int, Exception]]:
    """Logits, float32 (pairs,), and for each pair that fails even alone its error; its logit is NaN.

    A failed batch is scored again in halves: one bad pair among n costs about 2 log2(n) further passes, and a batch
    too large for the device's free memory is scored in parts that fit. Raises torch.AcceleratorError, after which
    this process can score nothing on that device.
    """
    try:
        return score(pairs), {}
    except torch.AcceleratorError:
        raise
    except Exception as error:
        failure = error.with_traceback(None)  # a traceback would keep the pass's tensors alive
    if isinstance(failure, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
    if len(pairs) == 1:
        return np.full(1, np.nan, dtype=np.float32), {0: failure}
    middle = len(pairs) // 2
    first, first_failures = score_isolating(score, pairs.take(np.arange(middle)))
    second, second_failures = score_isolating(score, pairs.take(np.arange(middle, len(pairs))))
    failures = first_failures | {middle + pair: error for pair, error in second_failures.items()}
    return np.concatenate((first, second)), failures
