"""Token buckets: no more than the rate and one bucket, no refusal that waiting does not end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import RateLimited
from reranker.scheduling.token_rate import TokenRates

RATES = st.integers(1, 10**9)
REQUESTS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 2 * 10**9)), min_size=1, max_size=30)


@given(rate=RATES, requests=REQUESTS, start_s=st.floats(0, 1e7))
def test_tokens_in_any_span_stay_within_rate_bucket_and_one_request(
    rate: int, requests: list[tuple[float, int]], start_s: float
) -> None:
    rates, now_s, taken = TokenRates(), start_s, []
    for pause_s, tokens in requests:
        now_s += pause_s
        try:
            rates.take("a", tokens, rate, now_s)
        except RateLimited:
            continue
        taken.append((now_s, tokens))
    for first, (from_s, _) in enumerate(taken):
        for last in range(first, len(taken)):
            span = taken[first : last + 1]
            allowed = rate * (1 + (span[-1][0] - from_s) / 60) + max(tokens for _, tokens in span)
            assert sum(tokens for _, tokens in span) <= allowed * (1 + 1e-6) + len(span)


@given(rate=RATES, requests=REQUESTS, start_s=st.floats(0, 1e7))
def test_refused_request_is_let_in_after_the_time_it_was_told(
    rate: int, requests: list[tuple[float, int]], start_s: float
) -> None:
    rates, now_s = TokenRates(), start_s
    for pause_s, tokens in requests:
        now_s += pause_s
        try:
            rates.take("a", tokens, rate, now_s)
        except RateLimited as error:
            now_s += error.retry_after_s
            rates.take("a", tokens, rate, now_s)


def test_refusal_takes_nothing_and_clients_have_buckets_of_their_own() -> None:
    rates = TokenRates()
    rates.take("a", 50, 60, 0.0)
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            rates.take("a", 20, 60, 0.0)
        assert refused.value.retry_after_s == pytest.approx(10)
    rates.take("b", 60, 60, 0.0)
    rates.take("a", 10, 60, 0.0)


def test_request_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt() -> None:
    rates = TokenRates()
    rates.take("a", 180, 60, 0.0)
    with pytest.raises(RateLimited) as refused:
        rates.take("a", 1, 60, 0.0)
    assert refused.value.retry_after_s == pytest.approx(121)
    rates.take("a", 1, 60, 121.0)


def test_lowered_rate_empties_the_bucket_to_its_size() -> None:
    rates = TokenRates()
    rates.take("a", 0, 600, 0.0)
    rates.take("a", 60, 60, 0.0)
    with pytest.raises(RateLimited):
        rates.take("a", 1, 60, 0.0)
