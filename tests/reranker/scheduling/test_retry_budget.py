"""The retry budget: what it starts with, what calls earn, and its maximum."""

from reranker.scheduling.retry_budget import INITIAL_RETRIES, MAX_RETRIES, RetryBudget


def spend_all(budget: RetryBudget) -> int:
    retries = 0
    while budget.spend():
        retries += 1
    return retries


def test_new_retry_budget_has_the_initial_retries() -> None:
    assert spend_all(RetryBudget()) == INITIAL_RETRIES == 100


def test_ten_calls_earn_five_retries() -> None:
    budget = RetryBudget()
    spend_all(budget)
    for _ in range(10):
        budget.earn()
    assert [budget.spend() for _ in range(6)] == [True] * 5 + [False]


def test_retry_budget_never_exceeds_its_maximum() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn()
    assert spend_all(budget) == MAX_RETRIES == 1_000
