"""The OpenAPI document of the dialects: which bodies a path takes, and every answer that it gives.

Knows nothing of requests. Statuses come from the dialects themselves, so that none can be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deployments.http.dialects import MARKS, Mark, Route
from deployments.http.dialects.base import Dialect
from deployments.http.dialects.shapes import STRING, Schema, an_object, any_of
from reranker import errors

# One error of each status that a dialect may give it.
_ERRORS: tuple[errors.RerankerError, ...] = (
    errors.MalformedBody(""),
    errors.InvalidField("", ""),
    errors.EmptyField("", ""),
    errors.UnknownModel("", ""),
    errors.HeadersTooLarge(0, 0),
    errors.BodyTooSlow(0),
    errors.BodyTooLarge(0),
    errors.UnreadEncoding(""),
    errors.Overloaded(0.0),
    errors.Unavailable(""),
    errors.DeadlineExceeded(0),
)
_DESCRIPTIONS = {
    400: "The request cannot be answered as it is: the message says what to change.",
    401: "No valid API key came with the request.",
    404: "Another model is served here.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is compressed in a way that is not read here.",
    422: "A field is missing or wrong: the message says what to change.",
    429: "Too much work is queued, or the API key's tokens per minute are used up.",
    431: "The headers are too large.",
    503: "No replica can answer at present.",
    504: "No answer within the time of the request.",
}
UNLISTED = ("/v1/models/rerank",)  # in the document a GET of it could not be told from /v1/models/{model}
_INTEGER: Schema = {"type": "integer", "minimum": 1}
_ID_HEADER = {
    "x-rerank-id": {"schema": {"type": "string"}, "description": "What the log calls the request.", "required": True}
}
_RANKING_HEADERS = {
    "x-rerank-unscored": {"schema": _INTEGER, "description": "Documents that were not scored by the deadline."},
    "x-rerank-ignored": {"schema": {"type": "string"}, "description": "Fields of the body that have no effect."},
}
_HEADERS: Mapping[int, Mapping[str, Any]] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}, "required": True}},
    429: {
        "Retry-After": {"schema": _INTEGER, "description": "Whole seconds.", "required": True},
        "retry-after-ms": {"schema": _INTEGER, "description": "The same in milliseconds.", "required": True},
    },
}
_KEYS: Mapping[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}


def complete(document: dict[str, Any], routes: Mapping[str, Route], has_keys: bool = False) -> None:
    """Add to FastAPI's document what each path takes and answers. Paths that speak the same share their bodies.

    Only the dialects read bodies: the errors that FastAPI announces for its own never come. has_keys: the endpoint
    wants an API key, in any of the headers of _KEYS.
    """
    for page in document["paths"].values():
        page["get"]["responses"].pop("422", None)
    schemas: dict[str, Any] = {"not_found": an_object({"detail": STRING})}
    bodies: dict[str, Any] = {}
    document["components"] = {"schemas": schemas, "requestBodies": bodies}
    found = (*_ERRORS, errors.Unauthenticated()) if has_keys else _ERRORS
    if has_keys:
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
    names: dict[Route, str] = {}
    for path, route in routes.items():
        if path in UNLISTED:
            continue
        for dialect in route.dialects:
            schemas[_answer_of(dialect)] = dialect.answer
            schemas[_error_of(dialect)] = dialect.error
        if route not in names:
            names[route] = _name(path)
            body = any_of(*_bodies(route.dialects))
            bodies[names[route]] = {"required": True, "content": {"application/json": {"schema": body}}}
        plain_path = path.replace(":path", "")
        document["paths"].setdefault(plain_path, {})["post"] = {
            "summary": " · ".join(dialect.name for dialect in route.dialects),
            "operationId": f"post_{_name(path)}",
            "parameters": [_path_parameter(name) for name in re.findall(r"{(\w+)}", plain_path)],
            "requestBody": {"$ref": f"#/components/requestBodies/{names[route]}"},
            "responses": _responses(route, found, has_parameters="{" in path),
        }


def _responses(route: Route, found: Iterable[errors.RerankerError], *, has_parameters: bool) -> dict[str, Any]:
    """has_parameters: a path with values that no server can have, such as a line break, is itself not found."""
    by_status: dict[int, list[Dialect]] = {}
    for dialect in route.dialects:
        for status in {dialect.failure(error)[0] for error in found}:
            by_status.setdefault(status, []).append(dialect)
    answers = {"200": _response("The ranking.", map(_answer_of, route.dialects), _ID_HEADER | _RANKING_HEADERS)}
    for status, dialects in sorted(by_status.items()):
        names = list(map(_error_of, dialects)) + ["not_found"] * (status == 404 and has_parameters)
        answers[str(status)] = _response(_DESCRIPTIONS[status], names, _ID_HEADER | dict(_HEADERS.get(status, {})))
    return answers


def _response(description: str, schemas: Iterable[str], headers: Mapping[str, Any]) -> dict[str, Any]:
    schema = any_of(*({"$ref": f"#/components/schemas/{name}"} for name in schemas))
    return {"description": description, "content": {"application/json": {"schema": schema}}, "headers": headers}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _answer_of(dialect: Dialect) -> str:
    return f"{_name(dialect.name)}_answer"


def _error_of(dialect: Dialect) -> str:
    return f"{_name(dialect.name)}_error"


def _name(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_") or "root"


def _bodies(dialects: tuple[Dialect, ...]) -> Iterator[Schema]:
    """The schema of each dialect's bodies, without those that a mark gives to another one."""
    if len(dialects) == 1:
        yield dialects[0].schema()
        return
    marks = [mark for mark in MARKS if mark.dialect in dialects]
    own = {mark.dialect.name: mark for mark in marks}
    lists = {dialect.documents for dialect in dialects}
    for dialect in dialects:
        mark = own.get(dialect.name)
        earlier = marks if mark is None else marks[: marks.index(mark)]
        schema = dialect.schema()
        others: Schema = {name: {"type": "null"} for name in lists - {dialect.documents}}
        for before in earlier:
            others |= _without(before)
        for name, allowed in others.items():
            field = schema["properties"].get(name)
            schema["properties"][name] = allowed if field is None or allowed is False else {"allOf": [field, allowed]}
        if mark is not None and not set(mark.filled) & {*schema.get("required", ())}:
            schema["allOf"] = [*schema.get("allOf", ()), any_of(*_with(mark))]
        yield schema


def _without(mark: Mark) -> Schema:
    """Properties of a body that does not bear a mark."""
    filled: Schema = {name: {"type": "null"} for name in mark.filled}
    no_boolean: Schema = {name: {"not": {"type": "boolean"}} for name in mark.boolean}
    return filled | no_boolean | dict.fromkeys(mark.present, False)


def _with(mark: Mark) -> Iterator[Schema]:
    for name in mark.filled:
        yield {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
    for name in mark.present:
        yield {"required": [name]}
    for name in mark.boolean:
        yield {"required": [name], "properties": {name: {"type": "boolean"}}}
