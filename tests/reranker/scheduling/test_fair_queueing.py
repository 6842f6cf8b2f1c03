"""Fair queueing: who is served next, for any history of joins, charges and leaves, and what a head start is worth."""

import weakref
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.scheduling.fair_queueing import FairQueue


def served(queue: FairQueue[str], times: int, cost: float = 1.0, prices: dict[str, float] | None = None) -> list[str]:
    """The members that are served, each charged the cost at its price."""
    order = []
    for _ in range(times):
        order.append(member := queue.first())
        queue.charge(cost, (prices or {}).get(member, 1.0))
    return order


def serve_until_first(queue: FairQueue[str], member: str) -> None:
    while queue.first() != member:
        queue.charge(1)


def queue_of(members: str, head_start: float = 0.0) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue(head_start)
    for member in members:
        queue.join(member)
    return queue


def test_members_of_equal_price_are_served_in_turn_in_the_order_they_joined() -> None:
    assert served(queue_of("cab"), 6) == list("cabcab")


def test_queue_is_empty_once_all_members_have_left() -> None:
    queue = queue_of("ab")
    assert queue
    served(queue, 1)
    queue.leave()  # the first one, b
    assert served(queue, 2) == ["a", "a"]
    queue.leave()
    assert not queue
    with pytest.raises(IndexError):
        queue.first()


@given(prices=st.lists(st.integers(1, 9), min_size=2, max_size=5), times=st.integers(1, 300))
def test_work_times_price_of_two_members_never_differs_by_more_than_one_piece(prices: list[int], times: int) -> None:
    price_of = {f"{number}": float(price) for number, price in enumerate(prices)}
    counts: Counter[str] = Counter()
    queue: FairQueue[str] = FairQueue(0)
    for member in price_of:
        queue.join(member)
    for _ in range(times):
        counts.update(served(queue, 1, prices=price_of))
        paid = [counts[member] * price for member, price in price_of.items()]
        assert max(paid) - min(paid) <= max(prices)


def test_new_member_gets_no_credit_for_the_time_before_it_joined() -> None:
    queue = queue_of("ab")
    served(queue, 100)
    queue.join("new")
    assert Counter(served(queue, 30)) == {"a": 10, "b": 10, "new": 10}


def test_high_price_of_one_member_does_not_delay_those_that_join_later() -> None:
    queue = queue_of("a")
    served(queue, 1, prices={"a": 1_000.0})
    queue.join("b")
    assert served(queue, 500, prices={"a": 1_000.0}) == ["b"] * 500


def test_clock_does_not_go_back_when_a_member_that_is_behind_is_served() -> None:
    queue = queue_of("ab")
    served(queue, 1, cost=10)  # a; the clock is 10
    served(queue, 1, cost=1)  # b, at 1
    queue.join("new")  # at 10, with a, after b has caught up
    assert served(queue, 12) == [*"bbbbbbbbb", "a", "b", "new"]


def test_work_within_the_head_start_is_charged_at_a_quarter() -> None:
    """A member that joins beside one without a head start left gets four pieces for one, until its own is used up."""
    queue = queue_of("a", head_start=8)
    served(queue, 9)  # a is at 8 quarters and one whole piece: 3
    queue.join("b")
    assert served(queue, 12) == [*"abbbbabbbbab"]


def test_piece_that_exceeds_the_head_start_is_charged_whole() -> None:
    queue = queue_of("ab", head_start=4)
    assert served(queue, 1, cost=3) == ["a"]  # at 0.75
    assert served(queue, 1, cost=4) == ["b"]  # all of its head start: at 1
    assert served(queue, 1, cost=2) == ["a"]  # 5 in all: at 2.75
    assert served(queue, 3, cost=0.5) == ["b", "b", "b"]  # at 1.5, 2, 2.5


@given(used=st.integers(1, 40), away=st.integers(0, 60))
def test_member_that_comes_back_has_its_head_start_less_what_it_used_lately(used: int, away: int) -> None:
    queue = queue_of("a", head_start=40)
    served(queue, 41)  # a has none left
    queue.join("b", "name")
    for _ in range(used):
        serve_until_first(queue, "b")
        queue.charge(1)
    serve_until_first(queue, "b")
    queue.leave()
    served(queue, away)  # the clock advances by as much
    queue.join("b", "name")
    # Its virtual time is that of a: n - 3/4 k for n pieces of which k are within the head start, and a's is 400 - n.
    pieces = Counter(served(queue, 400))["b"]
    assert abs((pieces - 200) / 0.375 - (40 - max(0, used - away))) <= 6


def test_member_without_a_name_has_a_whole_head_start_each_time() -> None:
    queue = queue_of("a", head_start=4)
    served(queue, 5)
    for _ in range(3):
        queue.join("b")
        serve_until_first(queue, "b")
        assert served(queue, 4) == ["b"] * 4
        serve_until_first(queue, "b")
        queue.leave()


def test_name_is_forgotten_once_its_head_start_is_whole_again() -> None:
    class Name(str):
        """A str that weak references can point to."""

    queue, name = queue_of("a", head_start=4), Name("b")
    known = weakref.ref(name)
    queue.join("b", name)
    del name
    serve_until_first(queue, "b")
    queue.leave()
    assert known() is not None
    served(queue, 9)
    queue.join("c", "c")
    serve_until_first(queue, "c")
    queue.leave()
    assert known() is None


def test_work_has_a_price_of_one_unless_another_is_given() -> None:
    queue = queue_of("ab")
    queue.charge(2)  # a, at 2
    assert served(queue, 3) == ["b", "b", "a"]
