"""The storage that a job's settings name, and where on this machine its plan is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cluster.batch.settings import BatchSettings
from cluster.batch.storage import Storage
from cluster.batch.storage.directory import Directory
from reranker.errors import InvalidFile
from reranker.ir.locations import is_url, redacted


def storage_of(settings: BatchSettings, say: Callable[[str], None]) -> Storage:
    """say: prints a line while another job's lease is waited for.

    Raises InvalidFile for a wrong URL or work directory, ModuleNotFoundError without boto3.
    """
    output, work = settings.output, settings.work_dir
    if not is_url(output):
        path = Path(output)
        return Directory(path) if work is None else Directory(path, work / _name_of(str(path.resolve())))
    from cluster.batch.storage.prefix import Prefix
    from cluster.batch.storage.s3 import S3Objects

    objects = S3Objects(str(output))
    # The same for every process of the job on this machine, so that a resumed one finds the plan.
    plan = (work or _own_directory()) / _name_of(f"{redacted(output)} {objects.endpoint}")
    return Prefix(objects, plan, wait=settings.resume, say=say)


def _name_of(output: str) -> str:
    return f"reranker-work-{sha256(output.encode()).hexdigest()[:16]}"


def _own_directory() -> Path:
    """A directory for temporary files that no other user of this machine can have prepared. Raises InvalidFile."""
    path = Path(tempfile.gettempdir(), f"reranker-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise InvalidFile(path, f"cannot be created: {error.strerror}; choose another --work-dir") from None
    if status.st_uid != os.getuid() or path.is_symlink():
        raise InvalidFile(path, "belongs to another user: choose another --work-dir")
    return path
