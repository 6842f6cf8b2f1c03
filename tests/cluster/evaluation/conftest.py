"""A Ray for the slow tests of suites."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    scratch = tempfile.mkdtemp(prefix="rr-")  # short: Ray's socket paths are limited in length
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, _temp_dir=scratch, log_to_driver=False)
    yield
    ray.shutdown()
    shutil.rmtree(scratch, ignore_errors=True)
