"""The first passes of an engine that will serve: they choose its budget, and show that the worst batch fits."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from reranker.encoder import Encoder
from reranker.engine.budget import MIN_PASS_TOKENS, Budget, choose_budget
from reranker.engine.engine import Engine
from reranker.engine.isolation import OUT_OF_MEMORY
from reranker.pairs import EncodedPairs
from reranker.types import Passage

log = logging.getLogger(__name__)

_REPEATS = 3


def warm_up(
    engine: Engine, encoder: Encoder, max_pass_s: float | None, clock: Callable[[], float] = time.perf_counter
) -> Budget:
    """Choose the engine's batch budget, at most the one it has, and set it. Running out of memory happens now.

    max_pass_s: the longest a batch may take, unless the smallest sensible one takes longer. None keeps the budget.
    Takes one batch of the smallest size more than `choose_budget` measures, three times each; with None two batches.
    Raises torch.OutOfMemoryError if a batch does not fit the device.
    """
    measure = partial(_seconds, engine, encoder, clock)
    largest = engine.max_batch_tokens
    # It may be shorter than the longest pair, which then gets a pass of its own: models read thousands of tokens, and
    # most passages have a hundred.
    smallest = min(largest, engine.workers * MIN_PASS_TOKENS)
    if max_pass_s is None:
        measure(largest)  # loads kernels
        budget = Budget(largest, measure(largest))
    else:
        measure(smallest)
        budget = choose_budget(partial(_median_s, measure, smallest), smallest, largest, max_pass_s)
        engine.max_batch_tokens = budget.tokens
    if engine.device != "cpu":  # whose memory is the whole machine's, far more than a batch needs
        for pairs in worst_batches(encoder, budget.tokens):
            engine.score(pairs)
        engine.clear_cache()
    log.info(
        "%d tokens per batch (%s; at most %d), %.0f ms each",
        budget.tokens,
        "fixed" if max_pass_s is None else f"chosen for at most {1000 * max_pass_s:.0f} ms",
        largest,
        1000 * budget.seconds,
    )
    return budget


def worst_batches(encoder: Encoder, tokens: int) -> Iterator[EncodedPairs]:
    """Batches that need the most memory: each pair has its own query, so no prefix is shared.

    The first has prefixes and passages of half a pair, the second the longest prefixes before the shortest passages.
    """
    words = "word " * encoder.max_pair_tokens
    for passage in (Passage(words), Passage("a")):
        parts: list[EncodedPairs] = []
        room = tokens
        while room >= encoder.max_pair_tokens or not parts:
            number = len(parts)  # at both ends, because some tokenizers cut texts on the left
            parts.append(encoder.encode(f"{number} {words}{number}", [passage]))
            room -= int(parts[-1].lengths[0])
        yield EncodedPairs.concat(parts)


def _median_s(measure: Callable[[int], float], smallest: int, tokens: int) -> float:
    """Median seconds of a batch: other work on the machine slows single ones. Infinite if it does not fit the device.

    Raises torch.OutOfMemoryError for the smallest batch.
    """
    try:
        return statistics.median(measure(tokens) for _ in range(_REPEATS))
    except OUT_OF_MEMORY:
        if tokens == smallest:
            raise
    torch.cuda.empty_cache()
    return math.inf


def _seconds(engine: Engine, encoder: Encoder, clock: Callable[[], float], tokens: int) -> float:
    """Seconds of a batch of so many tokens: passages as long as they may be, but two or more for each worker."""
    without_words = int(encoder.encode("warm up", [Passage("")]).lengths[0])
    words = min(encoder.max_pair_tokens, tokens // (2 * engine.workers) - without_words)
    pair = encoder.encode("warm up", [Passage("word " * max(1, words))])
    computed = int(engine.pass_tokens(pair.lengths)[0])
    count = max(1, tokens // computed)
    pairs = pair.take(np.zeros(count, dtype=np.intp))
    started = clock()
    engine.score(pairs)
    return (clock() - started) * tokens / (count * computed)
