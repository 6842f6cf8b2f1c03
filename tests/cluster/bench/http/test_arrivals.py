"""Arrivals: rate, gaps, and the mix of sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.bench.http.arrivals import Mix, parse_mix, poisson
from reranker.errors import InvalidField

MIX = Mix((10, 100), (0.75, 0.25))


@given(seed=st.integers(0, 2**32), rate=st.floats(1, 50))
def test_arrivals_follow_the_rate_and_the_mix(seed: int, rate: float) -> None:
    arrivals = poisson(rate, 200.0, MIX, seed)
    expected = rate * 200
    assert abs(len(arrivals) - expected) < 6 * expected**0.5
    large = sum(arrival.documents == 100 for arrival in arrivals)
    assert abs(large - 0.25 * len(arrivals)) < 6 * (0.25 * 0.75 * len(arrivals)) ** 0.5
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert all(0 <= at_s < 200 for at_s in times)


def test_gaps_between_arrivals_are_exponential_and_deterministic_for_a_seed() -> None:
    arrivals = poisson(100.0, 100.0, MIX, 1)
    gaps = np.diff([arrival.at_s for arrival in arrivals])
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert arrivals == poisson(100.0, 100.0, MIX, 1) != poisson(100.0, 100.0, MIX, 2)


def test_mix_is_parsed_from_sizes_with_weights() -> None:
    assert parse_mix("--mix", "100") == Mix((100,), (1.0,))
    assert parse_mix("--mix", "10:3, 100:1") == MIX
    assert MIX.mean_documents == 32.5


@pytest.mark.parametrize("text", ["", "ten", "10:", "0", "-5", "10:0", "10:-1", "10:inf", "10:nan", "10;20"])
def test_invalid_mix_is_refused(text: str) -> None:
    if text == "10:":  # an empty weight means 1
        assert parse_mix("--mix", text) == Mix((10,), (1.0,))
        return
    with pytest.raises(InvalidField, match="SIZE:WEIGHT"):
        parse_mix("--mix", text)
