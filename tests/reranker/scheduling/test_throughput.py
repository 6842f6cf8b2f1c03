"""Throughput of full batches, measured from batches of any size."""

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
