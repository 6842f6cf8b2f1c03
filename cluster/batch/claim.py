"""Whether a job may have an output: it must be free, or hold a job to resume."""

from __future__ import annotations

from cluster.batch.names import JOB, PLAN, SUCCESS, is_part
from cluster.batch.storage import Storage
from reranker.errors import JobRefused


def refuse_occupied(storage: Storage, *, resume: bool) -> None:
    """Raises JobRefused unless the output is absent or empty, or holds a job and `resume` is set.

    Raises InvalidFile and Unavailable as `Storage.names` does.
    """
    names = storage.names()
    if SUCCESS in names:
        problem = "" if resume else "holds the result of an earlier job: choose another --output, or remove it"
    elif JOB in names or f"{PLAN}/plan.json" in names or any(map(is_part, names)):
        problem = "" if resume else "holds an unfinished job: continue it with --resume, or choose another --output"
    else:
        problem = "is not empty and holds no job: choose another --output" if names else ""
    if problem:
        raise JobRefused(f"{storage} {problem}")
