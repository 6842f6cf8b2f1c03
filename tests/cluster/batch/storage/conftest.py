"""An S3 server on this machine."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.servers import s3_server


@pytest.fixture(scope="session")
def s3_url() -> Iterator[Callable[[], str]]:
    """A function that gives the URL of an empty prefix, with credentials."""
    pytest.importorskip("boto3")
    from cluster.batch.storage.s3 import S3Objects

    with s3_server() as options:
        S3Objects(f"s3://key:secret@bucket?{options}")._client.create_bucket(Bucket="bucket")
        numbers = itertools.count()
        yield lambda: f"s3://key:secret@bucket/a/{next(numbers)}?{options}"
