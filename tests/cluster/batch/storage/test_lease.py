"""One process has an output: others are refused, one takes over what was left, and who lost it writes no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.storage.lease import LEASE, LEASE_S, RENEW_S, Lease
from reranker.errors import CannotWrite, JobRefused
from tests.cluster.batch.storage.memory import MemoryObjects, Store


def silent(line: str) -> None:
    """For leases that need not say anything."""


def lease_of(store: Store, renew_s: float | None = None) -> Lease:
    return Lease(MemoryObjects(store), renew_s=renew_s, pause=store.wait)


def take(lease: Lease, *, wait: bool = False, say: Callable[[str], None] = silent) -> Lease:
    lease.take(wait=wait, say=say)
    return lease


def record(store: Store) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(store.objects[f"out/{LEASE}"][0])
    return contents


def test_live_lease_is_refused_with_its_owner_and_its_end() -> None:
    store = Store()
    take(lease_of(store))
    before = dict(store.objects)
    owner = record(store)
    line = (
        rf"^s3://bucket/out is in use by process {owner['pid']} on {owner['host']}, until \d\d:\d\d:\d\d UTC unless "
    )
    for _ in range(2):
        with pytest.raises(JobRefused, match=line):
            take(lease_of(store))
    assert store.objects == before


def test_lease_given_back_is_taken_at_once() -> None:
    store = Store()
    first = take(lease_of(store))
    first.give_back()
    take(lease_of(store))
    first.give_back()  # twice does no harm
    with pytest.raises(JobRefused):
        take(lease_of(store))


def test_lease_that_ran_out_is_taken_without_waiting_and_one_that_has_not_is_not() -> None:
    store = Store()
    take(lease_of(store))
    store.now_s += LEASE_S - 1
    with pytest.raises(JobRefused):
        take(lease_of(store))
    store.now_s += 4
    second = take(lease_of(store))
    second.renew()


def test_resumed_job_waits_for_the_lease_of_a_killed_one_and_says_so() -> None:
    store, said = Store(), list[str]()
    take(lease_of(store))
    take(lease_of(store), wait=True, say=said.append)
    assert len(said) == 1
    assert said[0].endswith(f". Waiting up to {LEASE_S + 2:.0f} s for it to run out")


def test_resumed_job_is_refused_as_soon_as_the_lease_is_renewed() -> None:
    store, started = Store(), 0.0
    first = take(lease_of(store))

    def wait(seconds: float) -> None:
        store.wait(seconds)
        if store.now_s - started >= RENEW_S:
            first.renew()

    started = store.now_s
    with pytest.raises(JobRefused, match="is in use by process"):
        take(Lease(MemoryObjects(store), pause=wait), wait=True)
    assert store.now_s - started <= RENEW_S + 1
    first.renew()


@pytest.mark.parametrize("state", ["absent", "run out", "given back"])
def test_of_two_processes_that_take_a_free_lease_one_gets_it(state: str) -> None:
    store = Store()
    if state != "absent":
        old = take(lease_of(store))
        if state == "given back":
            old.give_back()
        store.now_s += 2 * LEASE_S
    other, once = lease_of(store), [True]

    def other_is_faster() -> None:
        if once:
            once.clear()
            take(other)

    store.before = other_is_faster
    with pytest.raises(JobRefused, match="is in use by process"):
        take(lease_of(store))
    other.renew()


@given(waits=st.lists(st.sampled_from([0.0, 1.0, LEASE_S / 2, LEASE_S, 2 * LEASE_S]), min_size=1, max_size=12))
def test_never_more_than_one_process_can_renew(waits: list[float]) -> None:
    """Processes come one after another, after these seconds; a renewal that succeeds proves who has the output."""
    store, leases = Store(), list[Lease]()
    for wait in waits:
        store.wait(wait)
        lease = lease_of(store)
        try:
            take(lease)
        except JobRefused:
            continue
        leases.append(lease)
        for earlier in leases[:-1]:
            with pytest.raises(CannotWrite, match="is no longer this job's"):
                earlier.renew()
        lease.renew()
    assert leases


def test_process_that_lost_its_lease_is_told_by_whom_and_gives_nothing_back() -> None:
    store = Store()
    first = take(lease_of(store))
    store.now_s += 2 * LEASE_S
    take(lease_of(store))
    before = dict(store.objects)
    owner = record(store)
    taken = (
        f"process {owner['pid']} on {owner['host']} has taken it over. This process has stopped, and writes nothing"
    )
    for _ in range(2):
        with pytest.raises(CannotWrite, match=taken):
            first.renew()
    first.give_back()
    assert store.objects == before


def test_lease_whose_object_was_removed_is_lost() -> None:
    store = Store()
    lease = take(lease_of(store))
    store.objects.clear()
    with pytest.raises(CannotWrite, match=r"its \.lease was removed"):
        lease.renew()
    assert store.objects == {}


def test_lease_that_ran_out_and_was_not_taken_is_renewed() -> None:
    """The machine slept, or the network was away, and nobody else came."""
    store = Store()
    lease = take(lease_of(store))
    store.now_s += 10 * LEASE_S
    lease.renew()
    with pytest.raises(JobRefused):
        take(lease_of(store))


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_renewal_whose_answer_was_lost_does_not_lose_the_lease(lost: int) -> None:
    store = Store()
    lease = take(lease_of(store))
    store.lost_answers = lost
    for _ in range(lost):
        with pytest.raises(ConnectionError):
            lease.renew()
    lease.renew()


@pytest.mark.parametrize("before", ["absent", "run out"])
def test_lease_that_was_taken_although_the_answer_was_lost_is_ours(before: str) -> None:
    store = Store()
    if before == "run out":
        take(lease_of(store))
        store.now_s += 2 * LEASE_S
    lease = lease_of(store)
    store.lost_answers = 1
    with pytest.raises(ConnectionError):
        take(lease)
    store.now_s += 1
    take(lease)
    lease.renew()


@pytest.mark.parametrize("unknown", ["ignored", "refused"])
@pytest.mark.parametrize(
    "conditions", [set(), {"If-None-Match"}, {"If-Match"}], ids=lambda names: "+".join(names) or "none"
)
def test_store_without_conditional_writes_is_refused_and_left_empty(conditions: set[str], unknown: str) -> None:
    store = Store(conditions=conditions, unknown=unknown)
    with pytest.raises(CannotWrite, match=r"^s3://bucket/out cannot be locked: its store does not know conditional"):
        take(lease_of(store))
    assert store.objects == {}


@pytest.mark.parametrize("contents", [b"", b"[]", b'{"pid": "x", "lease_s": null, "released": 1}', b"\xff"])
def test_damaged_lease_runs_out_as_any_other(contents: bytes) -> None:
    store = Store(objects={f"out/{LEASE}": (contents, 1_000.0)})
    with pytest.raises(JobRefused, match="in use by process 0 on an unknown host"):
        take(lease_of(store))
    store.now_s += LEASE_S + 2
    take(lease_of(store))


def test_lease_is_renewed_by_itself_until_it_is_given_back() -> None:
    store, renewals, enough = Store(), list[int](), threading.Event()
    lease = take(lease_of(store, renew_s=0.001))

    def count() -> None:
        renewals.append(record(store)["renewed"])
        if len(set(renewals)) >= 3:
            enough.set()

    store.before = count
    with lease.kept():
        assert enough.wait(30)
    assert record(store)["released"]
    assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_renewals_go_on_after_the_store_was_away() -> None:
    store, came_back = Store(), threading.Event()
    lease = take(lease_of(store, renew_s=0.001))
    store.unreachable = True
    with lease.kept():
        store.before = came_back.set
        store.unreachable = False
        assert came_back.wait(30)
    assert record(store)["released"]
