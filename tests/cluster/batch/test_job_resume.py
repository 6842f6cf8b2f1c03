"""Resuming a killed or finished job of the real model: with equal results, or refused before anything is scored."""

import json
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import ray
from rich.console import Console

from cluster.batch.job import run_batch
from cluster.batch.output import BatchOutput
from cluster.batch.report import BatchReport
from cluster.batch.settings import BatchSettings
from cluster.batch.storage.directory import Directory
from reranker.errors import JobRefused
from tests.cluster.batch.jobs import PART, SAMPLE, Job, inputs_in, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::Warning:ray.data")  # Ray Data uses its own deprecated settings
UNITS = 7
CHECKPOINT = {"device": "cpu", "dtype": "float32"}
REAL = {"depth": 6, "unit_pairs": 20, "encoders": 1, "checkpoint": CHECKPOINT, "engine": {"threads": 1}}
PAIRS = 21 * 6


@pytest.fixture(scope="module")
def finished(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(scratch, tmp_path_factory.mktemp("finished") / "out", **inputs_in(SAMPLE), **REAL)
    assert job.run()["this_run"]["units"] == UNITS
    return job


@pytest.fixture(scope="module")
def killed(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str]:
    """A job that was killed after its first parts, and the error of a second process that used its directory."""
    job = Job(scratch, tmp_path_factory.mktemp("killed") / "out", **inputs_in(SAMPLE), **REAL)
    process = job.start()
    wait_until(lambda: job.count(f"parquet/{PART}"), process)
    process.send_signal(signal.SIGSTOP)  # it keeps its lock, but writes no more parts
    other = Job(scratch, job.output, **job.settings)
    refusal = other.last_line(other.start())
    process.kill()
    process.wait()
    assert 0 < len(job.parts) < UNITS
    return job, refusal


def resume(job: Job, **changes: Any) -> BatchReport:
    settings = {"resume": True, **job.settings, "output": job.output, **changes}
    return run_batch(BatchSettings.model_validate(settings), Console(quiet=True))


@pytest.mark.slow
def test_second_job_is_refused_while_the_first_one_runs(killed: tuple[Job, str]) -> None:
    job, refusal = killed
    assert refusal == f"JobRefused: {job.output} is in use by another process: wait for it, or stop it"


def test_lock_is_exclusive_when_many_threads_open_and_close(tmp_path: Path) -> None:
    inside = Lock()

    def open_repeatedly(_: int) -> int:
        entered = 0
        for _ in range(300):
            with suppress(JobRefused), BatchOutput.opened(Directory(tmp_path), resume=True):
                assert inside.acquire(blocking=False)
                entered += 1
                inside.release()
        return entered

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(open_repeatedly, range(4))) > 0


def test_temporary_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    for name in (".job.json.q2k0", ".run.trec.x_8a", "._SUCCESS.77ab"):
        (tmp_path / name).write_text("partial")
    with BatchOutput.opened(Directory(tmp_path), resume=False):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
def test_resumed_job_of_the_real_model_writes_equal_files(
    killed: tuple[Job, str], finished: Job, tmp_path: Path
) -> None:
    begun, _ = killed
    shutil.copytree(begun.output, tmp_path / "out")
    job = Job(begun.scratch, tmp_path / "out", **begun.settings)
    report = job.run()
    assert report["this_run"]["units"] + len(begun.parts) == UNITS
    assert job.files == finished.files


def _change_one_byte_of_the_corpus(job: Job, elsewhere: Path) -> dict[str, Any]:
    corpus = bytearray(Path(job.settings["corpus"]).read_bytes())
    place = corpus.rindex(b".")
    corpus[place] = ord("!")
    (elsewhere / "corpus.jsonl").write_bytes(corpus)
    return {"corpus": elsewhere / "corpus.jsonl"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda job, elsewhere: {"checkpoint": CHECKPOINT | {"template": "bare"}}, r"template auto \(now bare\)"),
        (lambda job, elsewhere: {"checkpoint": {"device": "cpu"}}, r"dtype float32 \(now auto\)"),
        (lambda job, elsewhere: {"top_k": 5}, r"top_k None \(now 5\)"),
        (_change_one_byte_of_the_corpus, "a different corpus file"),
    ],
    ids=["template", "dtype", "top_k", "corpus"],
)
def test_resume_with_other_settings_or_inputs_is_refused(
    killed: tuple[Job, str], change: Callable[[Job, Path], dict[str, Any]], named: str, tmp_path: Path
) -> None:
    job, _ = killed
    before = job.files
    with pytest.raises(JobRefused, match=rf"its job was begun with {named}\."):
        resume(job, **change(job, tmp_path))
    assert job.files == before
    assert not ray.is_initialized()


@pytest.mark.slow
def test_resume_of_a_finished_job_reports_it_without_scoring(finished: Job) -> None:
    before = finished.files
    report = resume(finished)
    assert (report.pairs, report.rows, report.bad_rows) == (PAIRS, PAIRS, 0)
    assert (report.this_run["units"], report.this_run["scorers"]) == (0, 0)
    assert not ray.is_initialized()
    assert finished.files == before


@pytest.mark.slow
def test_resume_of_a_finished_job_writes_a_missing_report(finished: Job) -> None:
    (finished.output / "report.json").unlink()
    resume(finished)
    assert json.loads((finished.output / "report.json").read_bytes())["pairs"] == PAIRS
