"""An S3 server on this machine."""

import itertools
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture(scope="session")
def s3_url() -> Iterator[Callable[[], str]]:
    """A function that gives the URL of an empty prefix, with credentials."""
    pytest.importorskip("boto3")
    server_of = pytest.importorskip("moto.server")
    from cluster.batch.storage.s3 import S3Objects

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = server_of.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            options = f"scheme=http&endpoint_override={host}:{port}&region=us-east-1"
            S3Objects(f"s3://key:secret@bucket?{options}")._client.create_bucket(Bucket="bucket")
            numbers = itertools.count()
            yield lambda: f"s3://key:secret@bucket/a/{next(numbers)}?{options}"
        finally:
            server.stop()
