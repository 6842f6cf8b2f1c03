"""Bytes in flight: within the limit whatever arrives, with room for a client that holds nothing."""

import weakref
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import Overloaded
from reranker.scheduling.bytes_in_flight import BytesInFlight


@given(adds=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.booleans()), max_size=30))
def test_bytes_stay_within_the_limit_and_all_are_given_back(adds: list[tuple[int, int, bool]]) -> None:
    """Four requests, two of them of one client, add and release bytes in any order; a model counts them."""
    budget, clients, counts = BytesInFlight(100), "aabc", [0, 0, 0, 0]
    with ExitStack() as stack:
        requests = [stack.enter_context(budget.hold(client)) for client in clients]
        for place, count, releases in adds:
            if releases:
                requests[place].release()
                counts[place] = 0
            of_client = sum(held for held, client in zip(counts, clients, strict=True) if client == clients[place])
            if of_client + count <= 3 * (100 - sum(counts) - count):
                requests[place].add(count)
                counts[place] += count
            else:
                with pytest.raises(Overloaded):
                    requests[place].add(count)
            assert [held.count for held in requests] == counts
            assert budget.held == sum(counts) <= 100
    assert budget.held == 0
    with budget.hold("a") as held:
        held.add(75)  # as if nothing had been held


def test_a_client_alone_holds_three_quarters_and_leaves_room_for_another() -> None:
    budget = BytesInFlight(100)
    with budget.hold("greedy") as greedy, budget.hold("other") as other:
        greedy.add(75)
        with pytest.raises(Overloaded) as refused:
            greedy.add(1)
        assert refused.value.retry_after_s == 1
        other.add(15)
        greedy.release()
        other.add(45)


def test_budget_keeps_nothing_of_a_client_that_holds_no_bytes() -> None:
    class Client(str):
        """A str that weak references can point to."""

    budget, client = BytesInFlight(100), Client("a")
    with budget.hold(client) as held:
        held.add(5)
    known = weakref.ref(client)
    del client, held
    assert known() is None
