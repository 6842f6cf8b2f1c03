"""Admission by work: the queue is bounded, no client is starved, and a refusal says when to retry."""

import weakref
from contextlib import ExitStack
from dataclasses import dataclass

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


def new_admission(client_share: float = 3.0) -> Admission:
    admission = Admission(AdmissionSettings(queue_s=10, client_share=client_share))
    admission.tokens_per_s = RATE
    return admission


def fill(admission: Admission, stack: ExitStack, client: str, tokens: int, priority: int = 0) -> int:
    """Admits requests of one client until the first refusal; returns how many were admitted."""
    for count in range(10_000):
        try:
            stack.enter_context(admission.admit(client, tokens, priority))
        except Overloaded:
            return count
    raise AssertionError("no request is ever refused")


@dataclass
class Admitted:
    """An admitted request. left: tokens of it that are not done."""

    client: str
    reservation: Reservation
    left: int
    block: ExitStack


class AdmissionMachine(RuleBasedStateMachine):
    """Any interleaving of requests admitted, partly done and finished, against a model that counts what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = new_admission()
        self.open: list[Admitted] = []

    @rule(client=st.sampled_from("abcd"), tokens=st.integers(1, LARGEST), priority=st.integers(0, 3))
    def ask(self, client: str, tokens: int, priority: int) -> None:
        before, block = self.admission.queued_tokens, ExitStack()
        queued = any(request.left for request in self.open if request.client == client)
        refusal = None
        try:
            reservation = block.enter_context(self.admission.admit(client, tokens, priority))
            self.open.append(Admitted(client, reservation, tokens, block))
        except Overloaded as error:
            refusal = error
        if refusal is not None:
            assert before > 0
            assert refusal.retry_after_s == pytest.approx(before / RATE)
            assert queued or before >= LIMIT / (1 + priority)  # with nothing queued: only by a full queue

    @rule(data=st.data(), tokens=st.integers(0, LARGEST))
    def part_done(self, data: st.DataObject, tokens: int) -> None:
        if self.open:
            request = data.draw(st.sampled_from(self.open))
            self.admission.done(request.client, request.reservation, tokens)
            request.left = max(0, request.left - tokens)  # a part may have had more tokens than were estimated

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if self.open:
            request = data.draw(st.sampled_from(self.open))
            self.open.remove(request)
            request.block.close()

    @invariant()
    def queued_tokens_are_exact_and_bounded(self) -> None:
        assert [request.reservation.tokens for request in self.open] == [request.left for request in self.open]
        assert self.admission.queued_tokens == sum(request.left for request in self.open)
        assert self.admission.queued_tokens < LIMIT + LARGEST


TestAdmissionMachine = AdmissionMachine.TestCase


def test_lone_client_fills_its_share_and_leaves_room_for_others() -> None:
    admission = new_admission()
    with ExitStack() as stack:
        assert fill(admission, stack, "greedy", 10) == 75  # three quarters of 100
        assert fill(admission, stack, "second", 10) > 10
        assert fill(admission, stack, "third", 10) > 0
    assert admission.queued_tokens == 0


def test_large_request_of_another_client_is_admitted_during_a_flood() -> None:
    admission = new_admission()
    with ExitStack() as stack:
        fill(admission, stack, "flood", 10)
        stack.enter_context(admission.admit("modest", 900))
        with pytest.raises(Overloaded) as refused:
            stack.enter_context(admission.admit("flood", 1))
    assert refused.value.retry_after_s == pytest.approx(16.5)
    assert (admission.take_refused(), admission.take_refused()) == (10 + 1, 0)


def test_full_queue_refuses_a_client_with_nothing_queued() -> None:
    admission = new_admission()
    with admission.admit("a", LIMIT - 1), admission.admit("b", 1):
        assert admission.queued_tokens == LIMIT
        with pytest.raises(Overloaded), admission.admit("c", 1):
            pass


def test_request_that_takes_exactly_its_clients_share_is_admitted() -> None:
    admission = new_admission()
    with admission.admit("a", 600):
        with pytest.raises(Overloaded), admission.admit("a", 601):
            pass
        with admission.admit("a", 600):  # three times the 400 that are left
            assert admission.queued_tokens == 1_200


@given(priority=st.integers(1, 9))
def test_low_priority_request_sees_a_smaller_queue(priority: int) -> None:
    admission = new_admission(client_share=1e9)
    with ExitStack() as stack:
        admitted = fill(admission, stack, "low", 1, priority)
        assert admitted == pytest.approx(LIMIT / (1 + priority), abs=1)
        assert fill(admission, stack, "low", 1, 0) == LIMIT - admitted


def test_any_request_is_admitted_by_an_empty_queue_or_before_throughput_is_measured() -> None:
    admission = new_admission()
    with admission.admit("a", 50 * LIMIT, priority=999):
        assert admission.queued_tokens == 50 * LIMIT
    unmeasured = Admission(AdmissionSettings())
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(unmeasured.admit("a", 10**9))
        assert unmeasured.queued_tokens == 100 * 10**9


def test_admission_keeps_nothing_of_a_client_without_queued_work() -> None:
    class Client(str):
        """A str that weak references can point to."""

    admission, client = new_admission(), Client("a")
    with admission.admit(client, 5):
        pass
    known = weakref.ref(client)
    del client
    assert known() is None


def test_failed_request_releases_its_reservation() -> None:
    admission = new_admission()
    with pytest.raises(ZeroDivisionError), admission.admit("a", 500):
        raise ZeroDivisionError
    assert admission.queued_tokens == 0
