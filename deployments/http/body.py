"""Reads a request's body as a JSON object, or says clearly why it cannot."""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from deployments.http.json_values import max_values, running_count
from reranker.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidField,
    MalformedBody,
    TooManyCandidates,
    TooManyValues,
    UnreadEncoding,
)
from reranker.scheduling.bytes_in_flight import HeldBytes
from reranker.settings import LimitsSettings
from reranker.text import well_formed

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SLICE_BYTES = 2**20  # unpacked at a time
_UTF8_BOM = b"\xef\xbb\xbf"
_MAX_DEPTH = 200  # that of pydantic's parser
_DOCUMENT_FIELDS = (
    "documents",
    "texts",
    "text_2",
    "passages",
    "items",
    "data_2",
    "queries",
    "text_1",
    "data_1",
    "input",
    "inputs",
)


async def read_object(request: Request, limits: LimitsSettings, held: HeldBytes) -> dict[str, Any]:
    """Receive a body and parse it; only one form of it is kept. held: takes its bytes as they arrive.

    Raises BodyTooLarge, TooManyValues, BodyTooSlow, MalformedBody, and Overloaded when `held` has no room. All limits
    are those of the text, however small it was packed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UnreadEncoding(encoding)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_body_bytes:
        raise BodyTooLarge(limits.max_body_bytes)
    try:
        async with asyncio.timeout(limits.body_timeout_ms / 1000):
            stream: AsyncIterator[bytes] = _unpacked(request.stream()) if encoding == "gzip" else request.stream()
            raw = await _receive(stream, limits, held)
    except TimeoutError:
        raise BodyTooSlow(limits.body_timeout_ms) from None
    return parse_object(raw)


async def _unpacked(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The text of a gzip stream, in slices: a byte can stand for a thousand. Raises MalformedBody."""
    gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    async for packed in stream:
        while packed:
            try:
                yield gzip.decompress(packed, _SLICE_BYTES)
            except zlib.error as error:
                raise MalformedBody(f"the body is not gzip: {error}") from None
            packed = gzip.unconsumed_tail
            await asyncio.sleep(0)
    if not gzip.eof or gzip.unused_data:
        raise MalformedBody("the body is not one whole gzip member: send all of it, and nothing after it")


async def _receive(stream: AsyncIterator[bytes], limits: LimitsSettings, held: HeldBytes) -> bytearray:
    raw = bytearray()
    values = 1
    async for chunk in stream:
        if len(raw) + len(chunk) > limits.max_body_bytes:
            raise BodyTooLarge(limits.max_body_bytes)
        held.add(len(chunk))
        raw += chunk
        values += max_values(chunk)
    if values > limits.max_json_values:  # unless most of them are commas and brackets in the text
        for values in running_count(raw):
            if values > limits.max_json_values:
                raise TooManyValues(limits.max_json_values)
            await asyncio.sleep(0)
    return raw


def parse_object(raw: bytes | bytearray) -> dict[str, Any]:
    """One JSON object. Lone surrogates become U+FFFD: a UTF-8 response could not echo them.

    Numbers may be infinite or NaN: see `check_finite`. Raises MalformedBody.
    """
    if raw.startswith(_UTF8_BOM):
        raw = raw[len(_UTF8_BOM) :]
    try:
        body = from_json(raw)
    except ValueError as error:
        if not _SURROGATE_ESCAPE.search(raw):
            raise _malformed(raw, str(error)) from None
        body = _parse_surrogates(raw)
    if not isinstance(body, dict):
        raise MalformedBody(f"the body must be a JSON object, not {type(body).__name__}")
    return body


def check_finite(body: dict[str, Any]) -> None:
    """Raises InvalidField for the first number that is NaN, infinite or too large for a float: JSON has none."""
    for field, value in body.items():
        if (path := _non_finite(value, field)) is not None:
            raise InvalidField(path, "must be a finite number: JSON has no NaN or Infinity")


def count_documents(body: dict[str, Any], limit: int) -> int:
    """How many documents there are. Raises TooManyCandidates before a dialect builds a candidate of each."""
    most = 0
    inner = body.get("input")  # DashScope's
    for field in _DOCUMENT_FIELDS:
        documents = inner.get(field) if isinstance(inner, dict) and field in inner else body.get(field)
        if isinstance(documents, list) and len(documents) > limit:
            raise TooManyCandidates(len(documents), limit)
        most = max(most, len(documents) if isinstance(documents, list) else 0)
    return most


def _malformed(raw: bytes | bytearray, problem: str) -> MalformedBody:
    """problem: what the parser says."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return MalformedBody("the body is not UTF-8")
    if "recursion" in problem:
        return MalformedBody("the body is nested too deeply")
    return MalformedBody(f"the body is not JSON: {problem}")


def _parse_surrogates(raw: bytes | bytearray) -> Any:
    """Like pydantic's parser, which refuses lone surrogates."""
    try:
        return _repaired(json.loads(raw.decode()))
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError as error:
        raise _malformed(raw, str(error)) from None


def _repaired(value: Any, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_repaired(inner, depth + 1) for inner in value]
    if isinstance(value, dict):
        return {well_formed(key): _repaired(inner, depth + 1) for key, inner in value.items()}
    return value


def _non_finite(value: Any, path: str) -> str | None:
    """The path of the first number in a value that is not finite."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)  # type: ignore[assignment]
    else:
        return None
    found = (_non_finite(inner, f"{path}.{name}") for name, inner in items if not isinstance(inner, str))
    return next((path for path in found if path is not None), None)
