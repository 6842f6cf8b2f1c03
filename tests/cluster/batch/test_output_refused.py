"""Who may write to a job's directory: one process at a time, on one scale, where nothing is or its own job began."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.batch.output import BatchOutput
from reranker.errors import CannotWrite, InvalidFile, JobRefused
from tests.cluster.batch.units import JOB, SCALE, begun, contents_of, finish, scored_unit

HOLDER = """
import sys
from pathlib import Path
from cluster.batch.output import BatchOutput
from tests.cluster.batch.units import begun, scored_unit

with BatchOutput.opened(Path(sys.argv[1]), resume=False) as output:
    begun(output).commit(scored_unit(0))
    print("held", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[3]
OTHERWISE = {
    "model": "another",
    "checkpoint": "ff00",
    "template": "dear",
    "template_version": 2,
    "max_pair_tokens": 228,
    "dtype": "bfloat16",
    "device": "cuda",
    "max_batch_tokens": 8_192,
    "workers": 4,
}


@contextmanager
def held_by_another(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes to the directory until its stdin ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, directory], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def open_and_close(directory: Path, *, resume: bool = True) -> set[int]:
    """The units that are done there."""
    with BatchOutput.opened(directory, resume=resume) as output:
        return output.units


def test_a_second_process_is_refused_until_the_first_one_ends_or_is_killed(tmp_path: Path) -> None:
    for end in ("kill", "return"):
        directory = tmp_path / end
        with held_by_another(directory) as holder:
            before = contents_of(directory)
            for _ in range(2):  # who is refused takes nothing away from who is at work
                with pytest.raises(JobRefused, match="is being written by another process: wait for it, or end it"):
                    open_and_close(directory)
            assert contents_of(directory) == before
            if end == "kill":
                holder.kill()
                holder.wait()
                assert (directory / ".lock").exists()
            else:
                holder.communicate()
                assert not (directory / ".lock").exists()
            assert open_and_close(directory) == {0}
        assert not (directory / ".lock").exists()


def test_a_lock_that_its_holder_removes_meanwhile_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our opening the file and locking it; a third process would make and lock a new one."""
    lock = fcntl.flock

    def lock_late(file: IO[str], operation: int) -> None:
        (tmp_path / ".lock").unlink()
        lock(file, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lock_late)
        with pytest.raises(JobRefused, match="is being written by another process"):
            open_and_close(tmp_path)
    assert open_and_close(tmp_path) == set()


def test_the_lock_is_let_go_of_when_a_job_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), BatchOutput.opened(tmp_path / "out", resume=False):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [], "nor is a directory left in which nothing was done"
    (tmp_path / "mine").mkdir()
    open_and_close(tmp_path / "mine", resume=False)
    assert (tmp_path / "mine").is_dir(), "what was there before stays"


@pytest.mark.parametrize(("name", "value"), OTHERWISE.items())
def test_scores_of_another_scale_are_refused_and_not_written(name: str, value: object, tmp_path: Path) -> None:
    other = scored_unit(1, scale=replace(SCALE, **{name: value}))
    told = (
        f"computes otherwise than those before it: {name} {asdict(SCALE)[name]} \\(now {value}\\)\\. Give every node"
    )
    with BatchOutput.opened(tmp_path, resume=False) as output:
        begun(output).commit(scored_unit(0))
        with pytest.raises(JobRefused, match=told):
            output.commit(other)
        output.commit(scored_unit(2))
    with BatchOutput.opened(tmp_path, resume=True) as output:
        with pytest.raises(JobRefused, match=told):
            output.commit(other)
        assert output.units == {0, 2}
    assert len(list((tmp_path / "parquet").iterdir())) == 2


def test_every_part_of_a_scale_counts() -> None:
    assert OTHERWISE.keys() == asdict(SCALE).keys()


def test_all_that_differs_is_named_at_once(tmp_path: Path) -> None:
    with BatchOutput.opened(tmp_path, resume=False) as output:
        output.agree(SCALE)
        with pytest.raises(JobRefused, match=r"dtype float32 \(now float16\), device cpu \(now cuda\)\. Give"):
            output.agree(replace(SCALE, dtype="float16", device="cuda"))


def test_the_job_of_a_directory_is_taken_up_on_request_only(tmp_path: Path) -> None:
    for name, ends in (("unfinished", lambda output: None), ("finished", finish)):
        with BatchOutput.opened(tmp_path / name, resume=False) as output:
            begun(output).commit(scored_unit(0))
            ends(output)
    before = contents_of(tmp_path)
    with pytest.raises(JobRefused, match="unfinished holds an unfinished job: go on with it by --resume, or choose"):
        open_and_close(tmp_path / "unfinished", resume=False)
    with pytest.raises(JobRefused, match="finished holds the result of an earlier job: choose another --output"):
        open_and_close(tmp_path / "finished", resume=False)
    assert [open_and_close(tmp_path / name) for name in ("unfinished", "finished")] == [{0}, {0}]
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize("resume", [False, True])
def test_where_no_job_began_nothing_may_be(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    notes = tmp_path / "foreign" / "notes"
    notes.write_text("mine")
    for directory, kind, problem in (
        (tmp_path / "foreign", JobRefused, "foreign is not empty, and no job began there: choose another --output"),
        (notes, InvalidFile, "notes: is not a directory"),
        (notes / "out", InvalidFile, "out: cannot be made: Not a directory"),
    ):
        with pytest.raises(kind, match=problem):
            open_and_close(directory, resume=resume)
    assert contents_of(tmp_path) == {"foreign/notes": b"mine"}
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".lock").write_text("")
    for name in ("killed", "new"):
        assert open_and_close(tmp_path / name, resume=resume) == set()


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_part_that_is_not_ours_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    with BatchOutput.opened(tmp_path, resume=False) as output:
        begun(output).commit(scored_unit(0))
    part = tmp_path / "parquet" / "part-000001.parquet"
    if content is None:
        pq.write_table(pa.table({"query_id": ["q"]}), part)
    else:
        part.write_bytes(content)
    with pytest.raises(JobRefused, match=r"part-000001\.parquet is no part of a job of ours"):
        open_and_close(tmp_path)


def test_a_job_that_has_scored_nothing_is_forgotten_and_one_that_has_is_not(tmp_path: Path) -> None:
    with BatchOutput.opened(tmp_path / "out", resume=False) as output:
        assert output.begun is None
        assert begun(output).begun == JOB
        output.forget()
        assert output.begun is None
    assert not (tmp_path / "out").exists()
    with BatchOutput.opened(tmp_path / "out", resume=False) as output:
        begun(output).commit(scored_unit(0))
        output.forget()
        assert output.begun == JOB
    assert open_and_close(tmp_path / "out") == {0}


def test_a_full_disk_leaves_what_was_committed_and_the_job_goes_on_once_there_is_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 900_000)
    units = [scored_unit(number, queries=5, candidates=100) for number in range(20)]
    directory = small_disk / "out"

    def commit_all(output: BatchOutput) -> None:
        for unit in units:
            output.commit(unit)

    with BatchOutput.opened(directory, resume=False) as output:
        begun(output)
        with pytest.raises(CannotWrite, match=r"No space left on device\..*What is done is kept") as caught:
            commit_all(output)
        done = len(output.units)
        assert "\n" not in str(caught.value)
        assert 0 < done < len(units)
        assert f"part-{done:06d}.parquet cannot be written" in str(caught.value)
    for number in range(done):
        assert pq.read_table(directory / "parquet" / f"part-{number:06d}.parquet").equals(units[number].ranked)
    filler.unlink()
    with BatchOutput.opened(directory, resume=True) as output:
        assert output.units == set(range(done))
        output.commit(units[done])
        finish(output)
    manifest = json.loads((directory / "_SUCCESS").read_text())
    assert manifest["counts"]["rows"] == 500 * (done + 1)
    assert not list(directory.rglob(".*"))
