"""Batch jobs in separate processes that tests can kill: `python -m tests.cluster.batch.jobs SETTINGS.json`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from cluster.batch.job import run_batch
from cluster.batch.settings import BatchSettings
from cluster.sample import SAMPLE
from reranker.errors import RerankerError

ROOT = Path(__file__).parents[3]
PART = "part-*.parquet"


class Job:
    """The settings and output directory of one job, whose processes are started one after another.

    scratch: a short path for Ray's files, by which the job's processes are found. url: the output, if it is not in
    the directory, which then only names the job's log.
    """

    def __init__(self, scratch: Path, output: Path, *, url: str | None = None, **settings: Any) -> None:
        self.scratch, self.output, self.url, self.settings = scratch, output, url, settings
        self._log = output.with_name(f"{output.name}.log")

    def start(self, *, env: dict[str, str] | None = None, **changes: Any) -> subprocess.Popen[bytes]:
        """Start a process that begins or resumes the job. changes: settings for this process only."""
        given = {"resume": True, **self.settings, **changes, "output": self.url or self.output}
        settings = BatchSettings.model_validate(given)
        path = self.output.with_name(f"{self.output.name}.json")
        path.write_text(settings.model_dump_json())
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.batch.jobs", path],
                cwd=ROOT,
                env=os.environ | {"RAY_TMPDIR": str(self.scratch), "RAY_BACKEND_LOG_LEVEL": "fatal"} | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def last_line(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the process. Returns its last line: the report as JSON, or class and text of the error."""
        process.wait()
        return self._log.read_text("utf-8").splitlines()[-1]

    def report(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The report of a process that must finish the job."""
        last = self.last_line(process)
        assert process.returncode == 0, self._log.read_text("utf-8")
        report: dict[str, Any] = json.loads(last)
        return report

    def run(self, **changes: Any) -> dict[str, Any]:
        return self.report(self.start(**changes))

    @property
    def parts(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.output / "parquet").glob(PART)}

    @property
    def files(self) -> dict[str, bytes]:
        """Contents by name of all files but the lock, and the report, which has timings."""
        names = ("report.json", ".lock")
        paths = (path for path in self.output.rglob("*") if path.is_file() and path.name not in names)
        return {str(path.relative_to(self.output)): path.read_bytes() for path in paths}

    def count(self, pattern: str) -> int:
        """Number of matching files; cheap enough to catch one that exists for a millisecond."""
        return sum(1 for _ in self.output.glob(pattern))

    @property
    def half_written(self) -> list[str]:
        return sorted(path.name for path in self.output.rglob(".*.*"))

    def workers(self, stage: str) -> list[psutil.Process]:
        """Actor processes of a stage, given its class name."""
        return [process for process in processes_of(self.scratch) if f"({stage})" in _command(process)]


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes], pause_s: float = 0.005) -> bool:
    """Wait for the condition. Returns whether it became true before the process exited."""
    while process.poll() is None:
        if condition():
            return True
        time.sleep(pause_s)
    return False


def write_copies(directory: Path, queries: int, candidates: int) -> dict[str, str]:
    """Write inputs that repeat the sample's texts under new ids. Returns the settings that name them."""
    directory.mkdir()
    rows = {name: _read(SAMPLE / f"{name}.jsonl") for name in ("queries", "corpus")}
    query_rows = [row | {"_id": f"q{n}"} for n, row in enumerate(islice(cycle(rows["queries"]), queries))]
    passages = [row | {"_id": f"d{n}"} for n, row in enumerate(islice(cycle(rows["corpus"]), queries * candidates))]
    run = [f"q{n // candidates} Q0 d{n} 1 {-n} bm25" for n in range(queries * candidates)]
    files = {
        "queries.jsonl": map(json.dumps, query_rows),
        "corpus.jsonl": map(json.dumps, passages),
        "run.trec": iter(run),
    }
    for name, lines in files.items():
        (directory / name).write_text("".join(f"{line}\n" for line in lines))
    return inputs_in(directory)


def inputs_in(directory: Path) -> dict[str, str]:
    names = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "run": "run.trec"}
    return {role: str(directory / name) for role, name in names.items()}


def processes_of(directory: Path) -> list[psutil.Process]:
    """Processes that name the directory in their command line or have a file in it open."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _uses(process, directory)]


@contextlib.contextmanager
def ray_directory() -> Iterator[Path]:
    """A directory for Ray's files, with a short path because it holds sockets. Processes left in it are killed."""
    directory = Path(tempfile.mkdtemp(prefix="rr-", dir="/tmp"))
    try:
        yield directory
    finally:
        while found := processes_of(directory):
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found, timeout=5)
        shutil.rmtree(directory, ignore_errors=True)


def _uses(process: psutil.Process, directory: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if f"{directory}/" in f"{_command(process)}/":
            return True
        return any(directory in link.readlink().parents for link in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def main(path: str) -> None:
    """Run the job and print its report as one line of JSON, or `Class: message` on stderr with exit code 1."""
    settings = BatchSettings.model_validate_json(Path(path).read_bytes())
    try:
        report = run_batch(settings, Console(quiet=True))
    except RerankerError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps(report.to_json()))


if __name__ == "__main__":
    main(sys.argv[1])
