"""Jobs whose output is in an object store: files as on a disk, whenever they are killed, disturbed or taken over."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.batch.names import path_of
from cluster.batch.output import BatchOutput
from cluster.batch.plan import Plan
from cluster.batch.scored import ScoredUnit
from cluster.batch.storage.lease import LEASE, LEASE_S, Lease
from cluster.batch.storage.objects import Found
from cluster.batch.storage.prefix import Prefix
from reranker.errors import CannotWrite, JobRefused, Unavailable
from tests.cluster.batch.fake_jobs import UNITS, FakeJob
from tests.cluster.batch.outputs import begin, finish, scored_unit
from tests.cluster.batch.storage.jobs import StoredJob
from tests.cluster.batch.storage.memory import MemoryObjects, Store

PARTS = {path_of(unit): unit for unit in range(UNITS)}


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> FakeJob:
    """An undisturbed job on a disk."""
    directory = tmp_path_factory.mktemp("disk")
    job = FakeJob(directory / "in", directory / "out")
    job.run()
    return job


def prefix(store: Store, plan: Path, *, wait: bool = True) -> Prefix:
    objects = MemoryObjects(store)
    lease = Lease(objects, renew_s=None, pause=store.wait)
    return Prefix(objects, plan, wait=wait, say=lambda line: None, lease=lease, pause=store.wait)


def test_output_in_a_store_is_that_of_a_disk_byte_for_byte(on_disk: FakeJob, tmp_path: Path) -> None:
    job = StoredJob(on_disk.inputs, tmp_path, Store())
    report = job.run()
    assert job.files == on_disk.files
    assert json.loads(job.store.objects["out/report.json"][0]) == report.to_json()
    assert list(tmp_path.iterdir()) == [], "the plan is removed, and nothing else was made here"
    assert job.resumed() == set()


def states_of(job: StoredJob) -> list[Store]:
    """Run the job; returns copies of its store from before each change."""
    states: list[Store] = []
    job.store.before = lambda: states.append(job.store.copy())
    job.run()
    job.store.before = lambda: None
    return states


def test_job_killed_before_any_change_of_the_store_is_resumed_to_the_same_files(
    on_disk: FakeJob, tmp_path: Path
) -> None:
    """On another machine. Twice: while it runs, and while it mends its first and last parts and its run."""
    job = StoredJob(on_disk.inputs, tmp_path / "first", Store())
    states = states_of(job)
    job.store.objects[f"out/{path_of(0)}"] = b"PAR1", 0.0
    del job.store.objects[f"out/{path_of(UNITS - 1)}"]
    job.store.objects["out/run.trec"] = b"", 0.0
    states += states_of(job)
    assert job.files == on_disk.files
    assert len(states) > 40
    other = StoredJob(on_disk.inputs, tmp_path / "second", Store())
    for state in states:
        other.store = state
        whole = {unit for name, unit in PARTS.items() if other.files.get(name) == on_disk.files[name]}
        assert other.resumed() == set(range(UNITS)) - whole
        assert other.files == on_disk.files


def test_resumed_job_finds_the_plan_of_its_machine(on_disk: FakeJob, tmp_path: Path) -> None:
    job = StoredJob(on_disk.inputs, tmp_path, Store())
    with pytest.raises(KeyboardInterrupt):
        job.run(dies_after=1)
    made = (job.plan / "plan.json").stat().st_mtime_ns
    with pytest.raises(KeyboardInterrupt):
        job.run(dies_after=1)
    assert (job.plan / "plan.json").stat().st_mtime_ns == made
    shutil.rmtree(job.plan)
    assert job.resumed() == set(range(2, UNITS))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    finished=st.booleans(),
    damages=st.dictionaries(
        st.sampled_from([*PARTS, "run.trec", "bad_rows.jsonl", "_SUCCESS", "job.json"]),
        st.sampled_from(["removed", "emptied", "cut", "another job's"]),
        min_size=1,
    ),
)
def test_damaged_objects_are_found_and_made_again(
    finished: bool, damages: dict[str, str], on_disk: FakeJob, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    job, other = (
        StoredJob(on_disk.inputs, directory, Store()),
        StoredJob(on_disk.inputs, directory, Store(), version="2"),
    )
    for each in (job, other):
        with suppress(KeyboardInterrupt):
            each.run(dies_after=UNITS if finished else 3, reverse=True)
    for name in damages.keys() & job.files.keys():
        contents = job.files[name]
        changed = {"emptied": b"", "cut": contents[:-1], "another job's": other.files.get(name)}.get(damages[name])
        if changed is None:
            del job.store.objects[f"out/{name}"]
        else:
            job.store.objects[f"out/{name}"] = changed, job.store.now_s
    damaged = job.files
    missing = {unit for name, unit in PARTS.items() if damaged.get(name) != on_disk.files[name]}
    try:
        assert job.resumed() == missing
    except JobRefused:  # neither a record nor the parts prove that these files are of this job
        assert damages.keys() & {"_SUCCESS", "job.json"}
        assert job.files == damaged
    else:
        assert job.files == on_disk.files


class Overtaken(StoredJob):
    """While its second unit is scored, it seems dead, and another process takes the output over."""

    def _scored(self, plan: Plan, units: list[int], dies_after: int) -> Iterator[ScoredUnit]:
        for place, unit in enumerate(super()._scored(plan, units, dies_after)):
            if place == 1:
                self.overtake()
            yield unit

    def overtake(self) -> None:
        self.store.now_s += 2 * LEASE_S
        self.other = StoredJob(self.inputs, self.plan.parent / "other", self.store)
        with pytest.raises(KeyboardInterrupt):
            self.other.run(dies_after=1)
        self.before = dict(self.store.objects)


def test_job_whose_output_was_taken_over_changes_nothing_more(on_disk: FakeJob, tmp_path: Path) -> None:
    job = Overtaken(on_disk.inputs, tmp_path, Store())
    with pytest.raises(CannotWrite, match=r"is no longer this job's: process .* has taken it over"):
        job.run()
    assert job.store.objects == job.before
    job.other.run()
    assert job.files == on_disk.files


def test_two_jobs_are_never_in_one_output(tmp_path: Path) -> None:
    store = Store()
    with BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=False) as output:
        begin(output).commit(scored_unit(0))
        before = dict(store.objects)
        with (
            pytest.raises(JobRefused, match="holds an unfinished job: continue it with --resume"),
            BatchOutput.opened(prefix(store, tmp_path / "other"), resume=False),
        ):
            pass
        with (
            pytest.raises(JobRefused, match="is in use by process"),
            BatchOutput.opened(prefix(store, tmp_path / "other", wait=False), resume=True),
        ):
            pass
        assert store.objects == before
    with BatchOutput.opened(prefix(store, tmp_path / "other", wait=False), resume=True) as output:
        assert output.units == {0}, "the first one gave it back"


def test_foreign_objects_are_refused_and_those_beside_the_prefix_do_not_count(tmp_path: Path) -> None:
    store = Store({"outside/notes": (b"", 0.0), "other/out/notes": (b"", 0.0)})
    with BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=False) as output:
        assert output.units == set()
    store.objects["out/notes"] = b"mine", 0.0
    with (
        pytest.raises(JobRefused, match=r"^s3://bucket/out is not empty and holds no job: choose another --output$"),
        BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=True),
    ):
        pass


def test_store_that_is_away_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """A part that cannot be read now is not damaged: it must not be removed."""
    store = Store()
    with BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=False) as output:
        begin(output).commit(scored_unit(0))
    store.unreachable = True
    with (
        pytest.raises(Unavailable, match=r"^s3://bucket/out: no answer from the store$"),
        BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=True),
    ):
        pass
    store.unreachable = False
    storage = prefix(store, tmp_path / "plan")
    with storage.held():
        store.unreachable = True
        for ask in (storage.names, lambda: storage.read("job.json"), lambda: storage.checksum("job.json")):
            with pytest.raises(Unavailable, match=r"^s3://bucket/out: no answer from the store$"):
                ask()


def test_change_that_fails_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    store = Store()
    with BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=False) as output:
        begin(output)
        for lost in (1, 2, 3):
            store.lost_answers = lost
            output.commit(scored_unit(lost))
        store.lost_answers = 1
        finish(output)
        assert output.units == {1, 2, 3}
        assert output.is_finished


def test_failure_that_lasts_keeps_finished_units(tmp_path: Path) -> None:
    store = Store()
    with BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=False) as output:
        begin(output).commit(scored_unit(0))
        store.unreachable = True
        line = (
            r"^s3://bucket/out/parquet/part-000001\.parquet cannot be written: no answer from the store\. "
            "Finished units are kept: continue with --resume$"
        )
        with pytest.raises(CannotWrite, match=line):
            output.commit(scored_unit(1))
        assert output.units == {0}
    store.unreachable = False
    with BatchOutput.opened(prefix(store, tmp_path / "plan"), resume=True) as output:
        assert output.units == {0}


def test_files_larger_than_memory_are_written_from_their_lines(tmp_path: Path) -> None:
    storage = prefix(Store(), tmp_path / "plan")

    def lines() -> Iterable[str]:
        yield "á\n"
        yield "b\n"

    with storage.held():
        written = storage.write("run.trec", lines())
        assert storage.read("run.trec") == "á\nb\n".encode()
        assert written == storage.checksum("run.trec") == storage.write("copy", "á\nb\n".encode())
        assert storage.write("empty", iter([])) == storage.checksum("empty") != ""
        assert (storage.read("none"), storage.checksum("none")) == (b"", "")
        assert storage.names() == {"run.trec", "copy", "empty"}
        storage.remove(["copy", "none"])
        assert storage.names() == {"run.trec", "empty"}
    assert storage.names() == {"run.trec", "empty"}
    assert LEASE not in storage.names()


class Slow(MemoryObjects):
    """Answers no read before a second one has come while the first waits."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._first, self._second = threading.Lock(), threading.Event()

    def read(self, name: str) -> Found | None:
        if not self._first.acquire(blocking=False):
            self._second.set()
        assert self._second.wait(30)
        return super().read(name)


def test_parts_are_read_several_at_a_time_and_in_order(tmp_path: Path) -> None:
    names = [f"parquet/{number}" for number in range(40)]
    store = Store({f"out/{name}": (name.encode(), 0.0) for name in names})
    storage = Prefix(Slow(store), tmp_path, wait=True, say=lambda line: None)
    assert list(storage.read_each(names)) == [name.encode() for name in names]
    assert list(storage.read_each([])) == []


def test_reading_that_is_given_up_ends_its_threads(tmp_path: Path) -> None:
    names = [f"parquet/{number}" for number in range(40)]
    storage = prefix(Store({f"out/{name}": (b"", 0.0) for name in names}), tmp_path)
    before = threading.active_count()
    reading = storage.read_each(names)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_full_work_directory_is_named(small_disk: Path) -> None:
    storage = prefix(Store(), small_disk / "plan")
    with (
        storage.held(),
        pytest.raises(CannotWrite, match=f"^{small_disk} cannot be written: No space left on device$"),
    ):
        storage.write("run.trec", ("x" * 100_000 for _ in range(20)))
    assert storage.names() == set()
