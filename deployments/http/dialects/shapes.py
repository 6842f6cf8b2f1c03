"""JSON schemas of what bodies and answers have in common. Knows nothing of how they are read.

A schema says exactly what is accepted: whatever fits it gets no 4xx for its form, and what does not fit gets one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
STRING_OR_NULL: Schema = {"type": ["string", "null"]}
# One character that Python does not strip; what regular expressions call a space differs.
NOT_BLANK: Schema = {
    "type": "string",
    "minLength": 1,
    "pattern": r"[^\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
}

MAX_TOKENS: Schema = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"const": -1}]}


def an_object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> Schema:
    """An object of these fields and any others."""
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def a_list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def any_of(*schemas: Schema) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


_LABELS: Schema = {"title": STRING_OR_NULL, "id": {"type": ["string", "integer", "null"]}}
_PART = an_object({"text": STRING}, {"type": {"const": "text"}})
_TEXT_DOCUMENT = an_object({"text": STRING}, _LABELS)
_PARTS_DOCUMENT = an_object({"content": a_list(_PART)}, _LABELS | {"text": False})
_ANY_STRINGS: Schema = {
    **an_object({}, {"id": _LABELS["id"], "text": False, "image": False, "content": {"not": {"type": "array"}}}),
    "not": {"additionalProperties": {"not": STRING}},
}
DOCUMENT = any_of(STRING, _TEXT_DOCUMENT, _PARTS_DOCUMENT)
DOCUMENT_OF_ANY_FIELDS = any_of(STRING, _TEXT_DOCUMENT, _PARTS_DOCUMENT, _ANY_STRINGS)
DOCUMENTS = a_list(DOCUMENT, 1)
DOCUMENTS_OF_ANY_FIELDS = a_list(DOCUMENT_OF_ANY_FIELDS, 1)
ONE_OR_MORE = any_of(DOCUMENT, DOCUMENTS)
ONE_OR_MORE_OF_ANY_FIELDS = any_of(DOCUMENT_OF_ANY_FIELDS, DOCUMENTS_OF_ANY_FIELDS)

_PARTS_OF_QUERY = a_list(_PART, 1) | {"contains": an_object({"text": NOT_BLANK})}
QUERY = any_of(
    NOT_BLANK,
    an_object({"text": NOT_BLANK}),
    an_object({"content": _PARTS_OF_QUERY}, {"text": {"type": "null"}}),
)


def result(score: str, **optional: Schema) -> Schema:
    """One entry of a ranking, with our own additions."""
    ours = {"id": STRING, "scored": {"const": False}, "truncated": {"type": "boolean"}, "tokens": COUNT}
    return an_object({"index": COUNT, score: NUMBER}, ours | optional)


def with_strings(schema: Schema) -> Schema:
    """The schema of a field that is also read from a string: "2", "true"."""
    if "anyOf" in schema:
        return schema | {"anyOf": [form for one in schema["anyOf"] for form in _flat_forms(one)]}
    forms = list(_forms(schema))
    if len(forms) == 1:
        return schema
    return {name: schema[name] for name in ("title", "description", "default") if name in schema} | any_of(*forms)


def _flat_forms(schema: Schema) -> Iterator[Schema]:
    """MaxTokens | None is an anyOf within an anyOf."""
    for one in schema.get("anyOf", [schema]):
        yield from _forms(one)


def _forms(schema: Schema) -> Iterator[Schema]:
    yield schema
    if "const" in schema:
        yield {"const": str(schema["const"])}
    if schema.get("type") == "boolean":
        yield {"enum": ["true", "false", "True", "False"]}
    if schema.get("type") == "integer":
        digits = len(str(schema["maximum"])) if "maximum" in schema else 18
        positive = f"[1-9][0-9]{{0,{digits - 1}}}"
        zero = "" if "exclusiveMinimum" in schema else "0|"
        yield {"type": "string", "pattern": f"^({zero}{positive})$"}
