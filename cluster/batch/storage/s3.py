"""S3, and stores that speak its protocol: `Objects` on boto3.

Inputs are read through pyarrow, which has no conditional writes. Credentials, region and endpoint come from the same
places for both: AWS's variables, profiles and roles, or the URL, with pyarrow's names (region, scheme,
endpoint_override).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions
from botocore.config import Config

from cluster.batch.storage.objects import READERS, Found, NoConditionalWrites
from reranker.errors import InvalidFile
from reranker.ir.locations import one_line, redacted

_OPTIONS = ("region", "scheme", "endpoint_override")
_CHUNK_BYTES = 2**20
# A request that is not answered ends before the lease runs out that was renewed before it.
_CONFIG = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 2},
    "max_pool_connections": 2 * READERS,  # the lease is renewed meanwhile
}
_TRANSFER = TransferConfig(multipart_threshold=2**24)  # less than 16 MiB in one request

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.TokenRetrievalError,
    exceptions.UnauthorizedSSOTokenError,
    exceptions.SSOTokenLoadError,
)
_DENIED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_CONDITION_FAILED = {412, 409, 404}  # 409: a write at the same time; 404: the object to replace is gone


class S3Objects:
    """url: s3://[key:secret@]bucket[/prefix][?options]. Raises InvalidFile."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidFile(redacted(url), f"is not a URL: {one_line(error)}") from None
        options = dict(parse_qsl(parts.query))
        if not parts.netloc or parts.fragment or (":" in parts.netloc and "@" not in parts.netloc):
            raise InvalidFile(redacted(url), "is not the URL of a place in a store: use s3://bucket/prefix")
        if unknown := options.keys() - set(_OPTIONS):
            raise InvalidFile(
                redacted(url), f"has the option {min(unknown)!r}: an output knows {', '.join(_OPTIONS)}"
            )
        self._bucket = unquote(parts.netloc.rpartition("@")[2])
        prefix = unquote(parts.path).strip("/")
        self._root = f"{prefix}/" if prefix else ""
        self._url = f"s3://{self._bucket}/{prefix}".rstrip("/")
        override = options.get("endpoint_override")
        endpoint = override and (override if "://" in override else f"{options.get('scheme', 'https')}://{override}")
        own = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        try:
            self._client: Any = boto3.Session().client(
                "s3",
                region_name=options.get("region"),
                endpoint_url=endpoint,
                aws_access_key_id=unquote(parts.username) if parts.username else None,
                aws_secret_access_key=unquote(parts.password) if parts.password else None,
                # A store of one's own seldom has a host name for each bucket; pyarrow does the same.
                config=Config(**_CONFIG, s3={"addressing_style": "path" if own else "auto"}),
            )
        except (exceptions.BotoCoreError, ValueError) as error:
            raise InvalidFile(self._url, f"cannot be opened: {one_line(error)}") from None

    def __str__(self) -> str:
        return self._url

    @property
    def endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def names(self, directory: str) -> set[str]:
        names: set[str] = set()
        with self._translated("list objects"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._root + directory, Delimiter="/"):
                keys = [entry["Key"] for entry in page.get("Contents", [])]
                keys += [entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", [])]
                # Consoles make an empty object for a "folder".
                names |= {key.removeprefix(self._root) for key in keys if not key.endswith("/")}
        return names - {""}

    def read(self, name: str) -> Found | None:
        with self._translated("read objects"):
            if (answer := self._get(name)) is None:
                return None
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            now = parsedate_to_datetime(date) if date else datetime.now(UTC)
            return Found(answer["Body"].read(), answer["ETag"], (now - answer["LastModified"]).total_seconds())

    def chunks(self, name: str) -> Iterator[bytes] | None:
        with self._translated("read objects"):
            answer = self._get(name)
        return None if answer is None else self._chunks(answer["Body"])

    def write(self, name: str, contents: bytes) -> None:
        with self._translated("write objects"):
            self._client.put_object(Bucket=self._bucket, Key=self._root + name, Body=contents)

    def write_if(self, name: str, contents: bytes, version: str | None) -> str | None:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        with self._translated("write objects"):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=self._root + name, Body=contents, **condition
                )
            except exceptions.ClientError as error:
                status, code = _status_of(error)
                if code == "NotImplemented" or status == 501:
                    raise NoConditionalWrites(code) from None
                if status in _CONDITION_FAILED and code != "NoSuchBucket":
                    return None
                raise
        return str(answer["ETag"])

    def upload(self, name: str, file: IO[bytes]) -> None:
        with self._translated("write objects"):
            self._client.upload_fileobj(file, self._bucket, self._root + name, Config=_TRANSFER)

    def remove(self, name: str) -> None:
        with self._translated("remove objects"):
            self._client.delete_object(Bucket=self._bucket, Key=self._root + name)

    def _get(self, name: str) -> Any:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._root + name)
        except self._client.exceptions.NoSuchKey:
            return None

    def _chunks(self, body: Any) -> Iterator[bytes]:
        with self._translated("read objects"):
            yield from body.iter_chunks(_CHUNK_BYTES)

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        """Raises OSError as `Objects` says. Texts of the store are left out: some name keys or accounts."""
        try:
            yield
        except exceptions.ClientError as error:
            status, code = _status_of(error)
            if code == "NoSuchBucket":
                raise FileNotFoundError(
                    f"there is no bucket {self._bucket!r}: create it, or check its name"
                ) from None
            if status in (401, 403) or code in _DENIED:
                raise PermissionError(
                    f"the store does not let these credentials {action} ({code}): check them and their rights"
                ) from None
            if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout"):
                raise ConnectionError(f"{self.endpoint} failed ({code}): try again") from None
            raise OSError(f"{self.endpoint} did not {action} ({code})") from None
        except _NO_CREDENTIALS as error:
            raise PermissionError(
                f"no credentials ({type(error).__name__}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
                "profile or role, as for s3:// inputs"
            ) from None
        except (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.ResponseStreamingError):
            raise ConnectionError(f"no answer from {self.endpoint}: check the endpoint and the network") from None
        except exceptions.BotoCoreError as error:
            raise OSError(one_line(error)) from None


def _status_of(error: exceptions.ClientError) -> tuple[int, str]:
    """HTTP status and code."""
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0), error.response["Error"].get("Code", "")
