"""Reads a request's body as a JSON object, or says clearly why it cannot."""

import json
import re
from typing import Any

from fastapi import Request

from reranker.errors import BodyTooLarge, MalformedBody
from reranker.text import well_formed

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_object(request: Request, max_bytes: int) -> dict[str, Any]:
    """Raises BodyTooLarge, as soon as max_bytes is exceeded, and MalformedBody."""
    if int(request.headers.get("content-length", "0") or 0) > max_bytes:
        raise BodyTooLarge(max_bytes)
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > max_bytes:
            raise BodyTooLarge(max_bytes)
    return parse_object(bytes(chunks))


def parse_object(raw: bytes) -> dict[str, Any]:
    """Strict JSON (no NaN), one object. Lone surrogates become U+FFFD: a UTF-8 response could not echo them.

    Raises MalformedBody.
    """
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
        if _SURROGATE_ESCAPE.search(raw):
            body = json.loads(well_formed(json.dumps(body, ensure_ascii=False)))
    except UnicodeDecodeError:
        raise MalformedBody("the body is not UTF-8") from None
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise MalformedBody(f"the body must be a JSON object, not {type(body).__name__}")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
