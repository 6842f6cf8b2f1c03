"""A job that is killed before any file operation, or whose machine loses power, is resumed to the same files."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from cluster.batch.identity import job_of
from cluster.batch.names import path_of
from cluster.batch.output import BatchOutput
from cluster.batch.part import encode_part
from cluster.batch.storage.directory import Directory
from reranker.files import write_atomically
from tests.cluster.batch.crashes import Disk, before_each_file_operation, copy_tree
from tests.cluster.batch.fake_jobs import UNITS, FakeJob, at
from tests.cluster.batch.outputs import JOB, begin, finish, scored_unit


def parts_in(directory: Path) -> set[int]:
    return {unit for unit in range(UNITS) if (directory / path_of(unit)).exists()}


def states_of(job: FakeJob, directory: Path, numbers: count[int]) -> list[Path]:
    """Run the job; returns copies of its output from before each file operation that changed it."""
    states: list[Path] = []
    seen: set[tuple[tuple[str, int], ...]] = set()

    def copy() -> None:
        if not job.output.exists():
            return
        entries = ((str(path.relative_to(job.output)), path.stat().st_ino) for path in job.output.rglob("*"))
        if (state := tuple(sorted(entries))) not in seen:
            seen.add(state)
            states.append(directory / f"{next(numbers)}" / "out")
            copy_tree(job.output, states[-1])

    with before_each_file_operation(copy):
        job.run()
    return states


def test_job_killed_before_any_file_operation_is_resumed_to_the_same_files(tmp_path: Path) -> None:
    """Twice: while it runs, and while it is resumed after its first and last parts and its run were damaged."""
    job, numbers = FakeJob(tmp_path / "in", tmp_path / "out"), count()
    states = states_of(job, tmp_path, numbers)
    files = job.files
    (job.output / path_of(0)).write_bytes(b"PAR1")
    (job.output / path_of(UNITS - 1)).unlink()
    (job.output / "run.trec").write_bytes(b"")
    states += states_of(job, tmp_path, numbers)
    assert job.files == files
    assert len(states) > 40
    for state in states:
        whole = {unit for unit in parts_in(state) if (state / path_of(unit)).read_bytes() == files[path_of(unit)]}
        killed = at(job, state)
        assert killed.resumed() == set(range(UNITS)) - whole, state
        assert killed.files == files, state
        assert not list(state.rglob(".*")), "temporary files are removed"


def test_finished_units_survive_a_loss_of_power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = FakeJob(tmp_path / "in", tmp_path / "undisturbed")
    undisturbed.run()
    (tmp_path / "disk").mkdir()
    job, disk = FakeJob(tmp_path / "in", tmp_path / "disk" / "a" / "out"), Disk(tmp_path / "disk")
    monkeypatch.setattr(os, "fsync", disk.fsync)
    for done in range(UNITS - 1):
        with pytest.raises(KeyboardInterrupt):
            job.run(dies_after=1)
        assert parts_in(job.output) == set(range(done + 1))
        disk.write_to(tmp_path / f"after-{done}")
        after = at(job, tmp_path / f"after-{done}" / "a" / "out")
        plan = (after.output / "work" / "plan.json").stat().st_mtime_ns
        with pytest.raises(KeyboardInterrupt):
            after.run(dies_after=0)
        assert (after.output / "work" / "plan.json").stat().st_mtime_ns == plan, "the corpus is not read again"
        assert after.resumed() == set(range(done + 1, UNITS))
        assert after.files == undisturbed.files
    job.run()
    disk.write_to(tmp_path / "finished")
    after = at(job, tmp_path / "finished" / "a" / "out")
    assert after.files == undisturbed.files
    assert after.resumed() == set()


def test_damaged_part_is_gone_from_the_disk_before_the_success_that_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is whole, but another than `_SUCCESS` lists: without `_SUCCESS` it would be believed."""
    (tmp_path / "disk").mkdir()
    disk, output_directory, states = Disk(tmp_path / "disk"), tmp_path / "disk" / "out", []

    def fsync(descriptor: int) -> None:
        disk.fsync(descriptor)
        states.append(tmp_path / f"after-{len(states)}")
        disk.write_to(states[-1])

    monkeypatch.setattr(os, "fsync", fsync)
    with BatchOutput.opened(Directory(output_directory), resume=False) as output:
        begin(output).commit(scored_unit(0))
        finish(output)
    write_atomically(output_directory / path_of(0), encode_part(scored_unit(0, bad=["x"]), job_of(JOB))[1])
    before = len(states)
    with BatchOutput.opened(Directory(output_directory), resume=True) as output:
        assert output.damaged == [path_of(0)]
        output.begin(JOB)
    found = [[(state / "out" / name).exists() for name in ("_SUCCESS", path_of(0))] for state in states[before - 1 :]]
    assert found[0] == [True, True]
    assert [False, True] not in found
    assert found[-1] == [False, False]
