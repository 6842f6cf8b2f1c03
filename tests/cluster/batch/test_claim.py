"""Which directories a job may claim, and which files in them are its own leftovers."""

from pathlib import Path

import pytest

from cluster.batch.claim import refuse_occupied
from cluster.batch.storage.directory import Directory, half_written
from cluster.locks import locked
from reranker.errors import CannotWrite, JobRefused

LEFTOVERS = [
    ".job.json.x1",
    ".run.trec.x1",
    ".bad_rows.jsonl.x1",
    "._SUCCESS.x1",
    ".report.json.x1",
    "parquet/.part-000001.parquet.x1",
]


def write(directory: Path, name: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


@pytest.mark.parametrize("name", LEFTOVERS)
def test_temporary_file_of_a_killed_job_is_known_as_such(name: str, tmp_path: Path) -> None:
    assert half_written(tmp_path) == []
    path = write(tmp_path, name)
    assert half_written(tmp_path) == [path]


@pytest.mark.parametrize("name", [".notes.x1", "job.json.x1", "x.job.json.x1", "parquet/.notes", "run.trec", ".lock"])
def test_other_files_are_not_taken_for_temporary_ones(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    assert half_written(tmp_path) == []


@pytest.mark.parametrize("resume", [False, True])
def test_directory_with_nothing_but_a_lock_and_temporary_files_is_free(resume: bool, tmp_path: Path) -> None:
    for name in (".lock", *LEFTOVERS[:-1]):
        write(tmp_path, name)
    refuse_occupied(Directory(tmp_path), resume=resume)


@pytest.mark.parametrize("name", ["job.json", "work/plan.json", "parquet/part-000000.parquet"])
def test_each_record_of_an_unfinished_job_alone_needs_resume(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    refuse_occupied(Directory(tmp_path), resume=True)
    problem = f"^{tmp_path} holds an unfinished job: continue it with --resume, or choose another --output$"
    with pytest.raises(JobRefused, match=problem):
        refuse_occupied(Directory(tmp_path), resume=False)


def test_success_alone_needs_resume(tmp_path: Path) -> None:
    write(tmp_path, "_SUCCESS")
    refuse_occupied(Directory(tmp_path), resume=True)
    problem = f"^{tmp_path} holds the result of an earlier job: choose another --output, or remove it$"
    with pytest.raises(JobRefused, match=problem):
        refuse_occupied(Directory(tmp_path), resume=False)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["work/notes", "parquet/notes.parquet", "run.trec", ".notes"])
def test_directory_with_other_files_is_refused(name: str, resume: bool, tmp_path: Path) -> None:
    write(tmp_path, name)
    with pytest.raises(JobRefused, match=f"^{tmp_path} is not empty and holds no job: choose another --output$"):
        refuse_occupied(Directory(tmp_path), resume=resume)


def test_lock_file_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.mkdir()
    with (
        pytest.raises(CannotWrite, match=f"^{path} cannot be written: Is a directory. Choose another --output$"),
        locked(path),
    ):
        pass
