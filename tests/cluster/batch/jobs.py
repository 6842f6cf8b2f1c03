"""Batch jobs in processes of their own, which a test may kill: `python -m tests.cluster.batch.jobs SETTINGS.json`."""

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
    """One job's settings and directory, and a process at a time that works on it.

    scratch: a short path for Ray's files, by which its processes are known again.
    """

    def __init__(self, scratch: Path, output: Path, **settings: Any) -> None:
        self.scratch, self.output, self.settings = scratch, output, settings
        self._log = output.with_name(f"{output.name}.log")

    def start(self, *, env: dict[str, str] | None = None, **changes: Any) -> subprocess.Popen[bytes]:
        """Begin the job, or go on with it. changes: settings for this process alone."""
        settings = BatchSettings.model_validate({"resume": True, **self.settings, **changes, "output": self.output})
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

    def ended(self, process: subprocess.Popen[bytes]) -> str:
        """The process's last line: its report as JSON, or the class and text of its error."""
        process.wait()
        return self._log.read_text("utf-8").splitlines()[-1]

    def report(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Of a process that must finish the job."""
        last = self.ended(process)
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
        """Contents by name of everything in the directory but its lock, and the report, which holds timings."""
        names = ("report.json", ".lock")
        paths = (path for path in self.output.rglob("*") if path.is_file() and path.name not in names)
        return {str(path.relative_to(self.output)): path.read_bytes() for path in paths}

    def count(self, pattern: str) -> int:
        """Files that match right now; cheap enough to watch for one that is there for a millisecond."""
        return sum(1 for _ in self.output.glob(pattern))

    @property
    def half_written(self) -> list[str]:
        return sorted(path.name for path in self.output.rglob(".*.*"))

    def workers(self, stage: str) -> list[psutil.Process]:
        """Actor processes of a stage, by its class's name."""
        return [process for process in processes_of(self.scratch) if f"({stage})" in _command(process)]


def wait_until(there: Callable[[], object], process: subprocess.Popen[bytes], pause_s: float = 0.005) -> bool:
    """Whether it came before the process ended."""
    while process.poll() is None:
        if there():
            return True
        time.sleep(pause_s)
    return False


def write_copies(directory: Path, queries: int, candidates: int) -> dict[str, str]:
    """Inputs made of the sample's texts, each copy under ids of its own; settings that name them."""
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
    """Processes that name the directory in their command line or have files in it open."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_of(process, directory)]


@contextlib.contextmanager
def ray_directory() -> Iterator[Path]:
    """A place for Ray's files, with a short path because sockets live in it. What still runs on it is killed."""
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


def _is_of(process: psutil.Process, directory: Path) -> bool:
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
    """Prints the report as one line of JSON; exit code 2 and `Class: message` where the job raises."""
    settings = BatchSettings.model_validate_json(Path(path).read_bytes())
    try:
        report = run_batch(settings, Console(quiet=True))
    except RerankerError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps(report.to_json()))


if __name__ == "__main__":
    main(sys.argv[1])
