"""Throughput of full batches, measured from batches of any size."""

import math

import pytest

from reranker.scheduling.throughput import Throughput


def test_small_batches_do_not_lower_the_throughput() -> None:
    throughput = Throughput(1_000)
    assert throughput.tokens_per_s == 0
    throughput.observe(1_000, 0.1)
    for _ in range(100):
        throughput.observe(10, 0.05)
    assert throughput.tokens_per_s == pytest.approx(10_000)


def test_throughput_follows_a_device_that_slows_down() -> None:
    throughput = Throughput(1_000)
    for _ in range(100):
        throughput.observe(1_000, 0.1)
    for _ in range(60):
        throughput.observe(1_000, 1.0)
    assert throughput.tokens_per_s == pytest.approx(1_000, rel=0.1)


def test_small_first_batch_gives_a_throughput_that_a_full_batch_raises() -> None:
    throughput = Throughput(1_000)
    throughput.observe(10, 0.05)
    assert throughput.tokens_per_s == pytest.approx(200)
    throughput.observe(1_000, 0.1)
    assert throughput.tokens_per_s > 5_000


def test_full_batch_decays_with_the_device_time_after_it() -> None:
    """After 10 s of device time a pass weighs 1/e."""
    throughput = Throughput(1_000)
    throughput.observe(1_000, 1.0)
    throughput.observe(6_000, 10.0)
    assert throughput.tokens_per_s == pytest.approx((1_000 / math.e + 6_000) / (1 / math.e + 10))


@pytest.mark.parametrize(("tokens", "counts"), [(499, False), (500, True)])
def test_slow_batch_counts_from_half_of_the_max_batch_tokens(tokens: int, counts: bool) -> None:
    throughput = Throughput(1_000)
    throughput.observe(1_000, 0.1)
    throughput.observe(tokens, 0.5)
    assert (throughput.tokens_per_s < 10_000) == counts


def test_pass_too_short_for_the_clock_gives_a_finite_throughput() -> None:
    throughput = Throughput(1_000)
    throughput.observe(1_000, 0.0)
    assert throughput.tokens_per_s == pytest.approx(1e9)


def test_small_batch_that_beats_the_estimate_raises_it() -> None:
    throughput = Throughput(1_000)
    throughput.observe(1_000, 1.0)
    throughput.observe(100, 0.05)
    assert throughput.tokens_per_s > 1_000
