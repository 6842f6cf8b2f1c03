"""Output directories refuse a second process, scores of another scale, foreign files and other jobs."""

import errno
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.batch.output import BatchOutput
from cluster.batch.storage.directory import Directory
from reranker.errors import CannotWrite, InvalidFile, JobRefused
from tests.cluster.batch.outputs import JOB, SCALE, begin, contents_of, finish, scored_unit

HOLDER = """
import sys
from pathlib import Path
from cluster.batch.output import BatchOutput
from cluster.batch.storage.directory import Directory
from tests.cluster.batch.outputs import begin, scored_unit

with BatchOutput.opened(Directory(Path(sys.argv[1])), resume=False) as output:
    begin(output).commit(scored_unit(0))
    print("locked", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[3]
OTHER_SCALE = {
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
def locked_by_another(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the directory locked until its stdin is closed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, directory], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "locked\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


def open_and_close(directory: Path, *, resume: bool = True) -> set[int]:
    """The finished units of the directory's job."""
    with BatchOutput.opened(Directory(directory), resume=resume) as output:
        return output.units


def test_lock_refuses_a_second_process_until_the_first_returns_or_is_killed(tmp_path: Path) -> None:
    for end in ("kill", "return"):
        directory = tmp_path / end
        with locked_by_another(directory) as holder:
            before = contents_of(directory)
            for _ in range(2):  # a refused process must not release the lock of the first one
                with pytest.raises(JobRefused, match="is in use by another process: wait for it, or stop it"):
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


def test_lock_file_removed_before_it_was_locked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder removes its file after we opened it; a third process could then create and lock a new one."""
    lock = fcntl.flock

    def lock_late(file: IO[str], operation: int) -> None:
        (tmp_path / ".lock").unlink()
        lock(file, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lock_late)
        with pytest.raises(JobRefused, match="is in use by another process"):
            open_and_close(tmp_path)
    assert open_and_close(tmp_path) == set()


def test_failed_job_releases_the_lock_and_removes_only_its_own_directory(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), BatchOutput.opened(Directory(tmp_path / "out"), resume=False):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [], "a directory that the job created is removed if it is empty"
    (tmp_path / "mine").mkdir()
    open_and_close(tmp_path / "mine", resume=False)
    assert (tmp_path / "mine").is_dir(), "a directory that existed before is kept"


@pytest.mark.parametrize(("name", "value"), OTHER_SCALE.items())
def test_commit_refuses_scores_of_a_different_scale(name: str, value: Any, tmp_path: Path) -> None:
    other = scored_unit(1, scale=replace(SCALE, **{name: value}))
    message = f"differs from earlier ones in {name} {asdict(SCALE)[name]} \\(now {value}\\)\\. Give every node"
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(scored_unit(0))
        with pytest.raises(JobRefused, match=message):
            output.commit(other)
        output.commit(scored_unit(2))
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        with pytest.raises(JobRefused, match=message):
            output.commit(other)
        assert output.units == {0, 2}
    assert len(list((tmp_path / "parquet").iterdir())) == 2


def test_scores_of_another_checkpoint_than_the_job_began_with_are_refused(tmp_path: Path) -> None:
    for begun, fits in (("0af3", True), (None, True), ("9bd1", False)):
        with BatchOutput.opened(Directory(tmp_path / str(begun)), resume=False) as output:
            output.begin(JOB | {"checkpoint": begun})
            if fits:
                output.commit(scored_unit(0))
                continue
            with pytest.raises(JobRefused, match="reads other weights, tokenizer or config than this job began with"):
                output.commit(scored_unit(0))
            assert output.units == set()


def test_different_scales_cover_every_field() -> None:
    assert OTHER_SCALE.keys() == asdict(SCALE).keys()


def test_refused_scale_names_every_difference(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        output.require_scale(SCALE)
        with pytest.raises(JobRefused, match=r"dtype float32 \(now float16\), device cpu \(now cuda\)\. Give"):
            output.require_scale(replace(SCALE, dtype="float16", device="cuda"))


def test_parts_of_different_scales_are_refused_by_name(tmp_path: Path) -> None:
    for name, scale in (("one", SCALE), ("other", replace(SCALE, dtype="bfloat16"))):
        with BatchOutput.opened(Directory(tmp_path / name), resume=False) as output:
            begin(output)
            for number in range(2):
                output.commit(scored_unit(number, scale=scale))
    part = Path("parquet", "part-000001.parquet")
    (tmp_path / "one" / part).write_bytes((tmp_path / "other" / part).read_bytes())
    problem = r"part-000001\.parquet was scored otherwise than the parts before it: dtype float32 \(now bfloat16\)\. "
    with pytest.raises(JobRefused, match=f"{problem}Scores must not be mixed: remove the parts of one kind"):
        open_and_close(tmp_path / "one")


OTHER_JOB = {"version": "2", "inputs": {"run": "sha"}}


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("record", [b"", b"{}", b"[1", None])
def test_results_without_a_readable_record_are_resumed_by_their_own_job_alone(
    finished: bool, record: bytes | None, tmp_path: Path
) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(scored_unit(0))
        if finished:
            finish(output)
    path = tmp_path / ("_SUCCESS" if finished else "job.json")
    if record is None:
        path.unlink()
    else:
        path.write_bytes(record)
    before = contents_of(tmp_path)
    problem = "_SUCCESS or job.json cannot be read, and its parts are not all of this job: choose another --output"
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output, pytest.raises(JobRefused, match=problem):
        output.admit(OTHER_JOB)
    assert contents_of(tmp_path) == before
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        output.admit(JOB)
        assert (output.units, output.is_finished) == ({0}, False)


def test_empty_success_of_another_program_is_refused(tmp_path: Path) -> None:
    """Spark and Hadoop write such a file."""
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "part-0.parquet").write_bytes(b"theirs")
    before = contents_of(tmp_path)
    with (
        BatchOutput.opened(Directory(tmp_path), resume=True) as output,
        pytest.raises(JobRefused, match="cannot be read"),
    ):
        output.admit(JOB)
    assert contents_of(tmp_path) == before


def test_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: IO[str], operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CannotWrite, match=r"cannot be locked \(Function not implemented\).*such as a local disk"):
        open_and_close(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_existing_job_is_opened_only_with_resume(tmp_path: Path) -> None:
    for name, ends in (("unfinished", lambda output: None), ("finished", finish)):
        with BatchOutput.opened(Directory(tmp_path / name), resume=False) as output:
            begin(output).commit(scored_unit(0))
            ends(output)
    before = contents_of(tmp_path)
    with pytest.raises(JobRefused, match="unfinished holds an unfinished job: continue it with --resume, or choose"):
        open_and_close(tmp_path / "unfinished", resume=False)
    with pytest.raises(JobRefused, match="finished holds the result of an earlier job: choose another --output"):
        open_and_close(tmp_path / "finished", resume=False)
    assert [open_and_close(tmp_path / name) for name in ("unfinished", "finished")] == [{0}, {0}]
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize("resume", [False, True])
def test_directory_with_foreign_files_is_refused(resume: bool, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    notes = tmp_path / "foreign" / "notes"
    notes.write_text("mine")
    for directory, kind, problem in (
        (tmp_path / "foreign", JobRefused, "foreign is not empty and holds no job: choose another --output"),
        (notes, InvalidFile, "notes: is not a directory"),
        (notes / "out", InvalidFile, "out: cannot be created: Not a directory"),
    ):
        with pytest.raises(kind, match=problem):
            open_and_close(directory, resume=resume)
    assert contents_of(tmp_path) == {"foreign/notes": b"mine"}
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".lock").write_text("")
    for name in ("killed", "new"):
        assert open_and_close(tmp_path / name, resume=resume) == set()


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_part_that_this_job_did_not_write_is_not_done_and_is_removed(content: bytes | None, tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(scored_unit(0))
    part = tmp_path / "parquet" / "part-000001.parquet"
    if content is None:
        pq.write_table(pa.table({"query_id": ["q"]}), part)
    else:
        part.write_bytes(content)
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        assert (output.units, output.damaged) == ({0}, ["parquet/part-000001.parquet"])
        assert part.exists(), "nothing is removed before the job is known to be the same"
        output.admit(JOB)
        output.begin(JOB)
    assert not part.exists()


def test_discard_unscored_removes_a_job_only_if_it_has_no_parts(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path / "out"), resume=False) as output:
        assert output.identity is None
        assert begin(output).identity == JOB
        output.discard_unscored()
        assert output.identity is None
    assert not (tmp_path / "out").exists()
    with BatchOutput.opened(Directory(tmp_path / "out"), resume=False) as output:
        begin(output).commit(scored_unit(0))
        output.discard_unscored()
        assert output.identity == JOB
    assert open_and_close(tmp_path / "out") == {0}
    (tmp_path / "out" / "parquet" / "part-000000.parquet").write_bytes(b"")
    with BatchOutput.opened(Directory(tmp_path / "out"), resume=True) as output:
        begin(output).discard_unscored()
        assert output.identity == JOB, "there was a part, even if it was damaged"
        assert output.plan.exists()


def test_full_disk_keeps_committed_parts_and_the_job_can_be_resumed(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 900_000)
    units = [scored_unit(number, queries=5, candidates=100) for number in range(20)]
    directory = small_disk / "out"

    def commit_all(output: BatchOutput) -> None:
        for unit in units:
            output.commit(unit)

    with BatchOutput.opened(Directory(directory), resume=False) as output:
        begin(output)
        with pytest.raises(CannotWrite, match=r"No space left on device\..*Finished units are kept") as caught:
            commit_all(output)
        done = len(output.units)
        assert "\n" not in str(caught.value)
        assert 0 < done < len(units)
        assert f"part-{done:06d}.parquet cannot be written" in str(caught.value)
    for number in range(done):
        assert pq.read_table(directory / "parquet" / f"part-{number:06d}.parquet").equals(units[number].ranked)
    filler.unlink()
    with BatchOutput.opened(Directory(directory), resume=True) as output:
        assert output.units == set(range(done))
        output.commit(units[done])
        finish(output)
    manifest = json.loads((directory / "_SUCCESS").read_text())
    assert manifest["counts"]["rows"] == 500 * (done + 1)
    assert not list(directory.rglob(".*"))
