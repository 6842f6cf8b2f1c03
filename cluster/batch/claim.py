"""Whether a job may have an output directory: it must be free, or hold a job to resume."""

from __future__ import annotations

from pathlib import Path

from cluster.batch.names import BAD_ROWS, JOB, PARTS, PLAN, REPORT, RUN, SUCCESS
from reranker.errors import InvalidFile, JobRefused

_WRITTEN = (JOB, RUN, BAD_ROWS, SUCCESS, REPORT)


def refuse_occupied(directory: Path, *, resume: bool) -> None:
    """Raises JobRefused unless the directory is absent or empty, or holds a job and `resume` is set."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InvalidFile(directory, "is not a directory: choose another --output, or remove it")
    names = {path.name for path in directory.iterdir()} - {".lock", *(path.name for path in half_written(directory))}
    if SUCCESS in names:
        problem = "" if resume else "holds the result of an earlier job: choose another --output, or remove it"
    elif JOB in names or (directory / PLAN / "plan.json").exists() or any((directory / PARTS).glob("part-*.parquet")):
        problem = "" if resume else "holds an unfinished job: continue it with --resume, or choose another --output"
    else:
        problem = "is not empty and holds no job: choose another --output" if names else ""
    if problem:
        raise JobRefused(f"{directory} {problem}")


def half_written(directory: Path) -> list[Path]:
    """Temporary files that `write_atomically` leaves behind when it is killed."""
    patterns = [f".{name}.*" for name in _WRITTEN] + [f"{PARTS}/.part-*"]
    return [path for pattern in patterns for path in directory.glob(pattern)]
