"""A real job that writes to S3, killed with SIGKILL and resumed elsewhere: its files are those of a job on a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")

from cluster.batch.settings import BatchSettings
from cluster.batch.storage.lease import LEASE
from cluster.batch.storage.opening import storage_of
from cluster.batch.storage.s3 import S3Objects
from reranker.errors import JobRefused
from tests.cluster.batch.jobs import Job, wait_until, write_copies

pytestmark = pytest.mark.slow

UNITS = 12
SIMULATED: dict[str, Any] = {"unit_pairs": 100, "scorers": 1, "encoders": 1}
ENGINE = {"engine": {"simulated_tokens_per_s": 20_000}}


def files_at(url: str) -> dict[str, bytes]:
    objects = S3Objects(url)
    names = (objects.names("") | objects.names("parquet/")) - {"parquet", LEASE, "report.json"}
    return {name: found.contents for name in names if (found := objects.read(name))}


def test_killed_job_is_resumed_from_its_objects(s3_url: Callable[[], str], scratch: Path, tmp_path: Path) -> None:
    inputs = write_copies(tmp_path / "in", queries=2 * UNITS, candidates=50)
    on_disk = Job(scratch, tmp_path / "on-disk", **inputs, **SIMULATED, **ENGINE)
    assert on_disk.run()["this_run"]["units"] == UNITS

    job = Job(scratch, tmp_path / "in-s3", url=s3_url(), **inputs, **SIMULATED, **ENGINE)
    objects = S3Objects(str(job.url))
    process = job.start(work_dir=tmp_path / "first-machine")
    assert wait_until(lambda: len(objects.names("parquet/")) >= 3, process)
    settings = BatchSettings.model_validate({**inputs, "output": job.url, "work_dir": tmp_path})
    with (
        pytest.raises(JobRefused, match=f"^{objects} is in use by process {process.pid} on "),
        storage_of(settings, lambda line: None).held(),
    ):
        pass
    process.kill()
    process.wait()
    before = files_at(str(job.url))
    assert 3 <= len(before) - 1 < UNITS, "parts, and job.json"
    assert {name: before[name] for name in before if name != "job.json"}.items() <= on_disk.files.items()

    report = job.run(work_dir=tmp_path / "second-machine")
    assert report["this_run"]["units"] == UNITS - (len(before) - 1), "finished units are not scored again"
    assert files_at(str(job.url)) == on_disk.files
