"""The choice of a batch's tokens: within its bounds, no longer than allowed, and no larger than it pays."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.budget import MIN_GAIN, choose_budget

SIZES = st.tuples(st.integers(1, 3_000), st.integers(1, 60_000)).map(sorted)
SECONDS = st.floats(1e-3, 10)


@given(sizes=SIZES, times=st.lists(SECONDS | st.just(math.inf), min_size=20, max_size=20), max_pass_s=SECONDS)
def test_budget_is_measured_within_bounds_and_only_the_smallest_may_take_too_long(
    sizes: list[int], times: list[float], max_pass_s: float
) -> None:
    smallest, largest = sizes
    measured: dict[int, float] = {}

    def measure(tokens: int) -> float:
        measured[tokens] = times[len(measured)]
        return measured[tokens]

    budget = choose_budget(measure, smallest, largest, max_pass_s)

    assert smallest <= budget.tokens <= largest
    assert budget.seconds == measured[budget.tokens]
    assert budget.seconds <= max_pass_s or budget.tokens == smallest
    sizes_measured = list(measured)
    assert sizes_measured == [min(smallest * 2**n, largest) for n in range(len(measured))]
    assert len(measured) <= math.ceil(math.log2(largest / smallest)) + 1
    assert budget.tokens in sizes_measured[-2:]  # nothing is measured beyond the first that is refused
    speeds = [tokens / measured[tokens] for tokens in sizes_measured if tokens <= budget.tokens]
    assert all(larger >= (1 + MIN_GAIN) * smaller * (1 - 1e-9) for smaller, larger in pairwise(speeds))


@given(sizes=SIZES, fixed_s=st.floats(0, 1), per_token_s=st.floats(1e-6, 1e-2), max_pass_s=SECONDS)
def test_choosing_takes_no_longer_than_it_says(
    sizes: list[int], fixed_s: float, per_token_s: float, max_pass_s: float
) -> None:
    larger: list[float] = []

    def measure(tokens: int) -> float:
        if tokens > sizes[0]:
            larger.append(fixed_s + tokens * per_token_s)
        return fixed_s + tokens * per_token_s

    choose_budget(measure, sizes[0], sizes[1], max_pass_s)
    assert all(seconds <= 2 * max_pass_s for seconds in larger)
    assert len(larger) <= math.ceil(math.log2(sizes[1] / sizes[0]))


@pytest.mark.parametrize(
    ("device", "fixed_s", "tokens_per_s", "chosen"),
    [
        ("8B on an L4", 0.030, 4_100, 1_024),
        ("8B on an H100", 0.008, 43_000, 8_192),
        ("0.6B on an H100", 0.012, 400_000, 16_384),
        ("a CPU that needs 3 s for the smallest", 0.0, 170, 512),
        ("a device on which no size gains", 0.0, 10_000, 512),
    ],
)
def test_budget_of_devices(device: str, fixed_s: float, tokens_per_s: float, chosen: int) -> None:
    budget = choose_budget(lambda tokens: fixed_s + tokens / tokens_per_s, 512, 16_384, 0.3)
    assert budget.tokens == chosen
