"""Admission by work: the queue is bounded, nobody is starved, and a refusal says when to come again."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reranker.errors import Overloaded
from reranker.scheduling.admission import Admission, Reservation
from reranker.settings import AdmissionSettings

RATE = 100.0
LIMIT = 1_000  # tokens: 10 s at that rate
LARGEST = 700


def admission(client_share: float = 3.0) -> Admission:
    account = Admission(AdmissionSettings(queue_s=10, client_share=client_share))
    account.tokens_per_s = RATE
    return account


def fill(account: Admission, stack: ExitStack, client: str, tokens: int, priority: int = 0) -> int:
    """How many requests of so many tokens a client gets in before the first refusal."""
    for count in range(10_000):
        try:
            stack.enter_context(account.admit(client, tokens, priority))
        except Overloaded:
            return count
    raise AssertionError("nothing is ever refused")


class AdmissionMachine(RuleBasedStateMachine):
    """Any interleaving of requests, parts done and requests over, against the plain sum of what is held."""

    def __init__(self) -> None:
        super().__init__()
        self.account = admission()
        self.open: list[tuple[str, Reservation, ExitStack]] = []

    @rule(client=st.sampled_from("abcd"), tokens=st.integers(1, LARGEST), priority=st.integers(0, 3))
    def ask(self, client: str, tokens: int, priority: int) -> None:
        before, stack = self.account.queued_tokens, ExitStack()
        holds = any(reservation.tokens for owner, reservation, _ in self.open if owner == client)
        refusal = None
        try:
            self.open.append((client, stack.enter_context(self.account.admit(client, tokens, priority)), stack))
        except Overloaded as error:
            refusal = error
        if refusal is not None:
            assert before > 0
            assert refusal.retry_after_s == pytest.approx(before / RATE)
            assert holds or before >= LIMIT / (1 + priority)  # who holds nothing is refused by a full queue only

    @rule(data=st.data(), tokens=st.integers(0, LARGEST))
    def part_done(self, data: st.DataObject, tokens: int) -> None:
        if self.open:
            client, reservation, _ = data.draw(st.sampled_from(self.open))
            self.account.done(client, reservation, tokens)

    @rule(data=st.data())
    def over(self, data: st.DataObject) -> None:
        if self.open:
            entry = data.draw(st.sampled_from(self.open))
            self.open.remove(entry)
            entry[2].close()

    @invariant()
    def the_account_is_exact_and_bounded(self) -> None:
        assert self.account.queued_tokens == sum(reservation.tokens for _, reservation, _ in self.open)
        assert self.account.queued_tokens < LIMIT + LARGEST


TestAdmissionMachine = AdmissionMachine.TestCase


def test_a_client_alone_fills_its_share_and_leaves_room_for_others() -> None:
    account = admission()
    with ExitStack() as stack:
        assert fill(account, stack, "greedy", 10) == 75  # three quarters of 100
        assert fill(account, stack, "second", 10) > 10
        assert fill(account, stack, "third", 10) > 0
    assert account.queued_tokens == 0


def test_a_large_request_of_a_modest_client_is_let_in_beside_a_flood() -> None:
    account = admission()
    with ExitStack() as stack:
        fill(account, stack, "flood", 10)
        stack.enter_context(account.admit("modest", 900))
        with pytest.raises(Overloaded) as refused:
            stack.enter_context(account.admit("flood", 1))
    assert refused.value.retry_after_s == pytest.approx(16.5)
    assert (account.take_refused(), account.take_refused()) == (10 + 1, 0)


@given(priority=st.integers(1, 9))
def test_a_low_priority_meets_a_smaller_queue(priority: int) -> None:
    account = admission(client_share=1e9)
    with ExitStack() as stack:
        admitted = fill(account, stack, "low", 1, priority)
        assert admitted == pytest.approx(LIMIT / (1 + priority), abs=1)
        assert fill(account, stack, "low", 1, 0) == LIMIT - admitted


def test_anything_is_let_in_where_nothing_waits_or_nothing_was_measured() -> None:
    account = admission()
    with account.admit("a", 50 * LIMIT, priority=999):
        assert account.queued_tokens == 50 * LIMIT
    unmeasured = Admission(AdmissionSettings())
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(unmeasured.admit("a", 10**9))
        assert unmeasured.queued_tokens == 100 * 10**9


def test_a_request_that_fails_gives_its_room_back() -> None:
    account = admission()
    with pytest.raises(ZeroDivisionError), account.admit("a", 500):
        raise ZeroDivisionError
    assert account.queued_tokens == 0
