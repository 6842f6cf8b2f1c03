"""Fields that have several names, of which a body may use one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import AliasChoices, BaseModel

from deployments.http.dialects.shapes import Schema, any_of
from reranker.errors import InvalidField


def check_one_of(names: Sequence[str], body: Mapping[str, Any]) -> None:
    """Raises InvalidField if one thing came under two names: nobody can tell which of them is meant."""
    first, *others = [name for name in names if body.get(name) is not None] or [""]
    if others:
        raise InvalidField(others[0], f"came beside {first}, which means the same: send one of them")


def with_one_name(kind: type[BaseModel], body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without names that are null beside one that is not. Raises InvalidField."""
    fields = dict(body)
    for names in _several_names(kind):
        check_one_of(names, body)
        if any(body.get(name) is not None for name in names):
            fields = {name: value for name, value in fields.items() if name not in names or value is not None}
    return fields


def add_names(kind: type[BaseModel], schema: Schema) -> None:
    """Let the schema of a body say what `with_one_name` takes."""
    fields, required = schema["properties"], set(schema.get("required", ()))
    several = _several_names(kind)
    for names in several:
        fields |= dict.fromkeys(names, any_of(fields[names[0]], {"type": "null"}))
    if several:
        schema["allOf"] = [{"anyOf": _one_of(names, required=names[0] in required)} for names in several]
        schema["required"] = sorted(required.difference(*several))


@cache
def _several_names(kind: type[BaseModel]) -> list[tuple[str, ...]]:
    """The names of each field that has several."""
    aliases = (field.validation_alias for field in kind.model_fields.values())
    return [tuple(map(str, alias.choices)) for alias in aliases if isinstance(alias, AliasChoices)]


def _one_of(names: Sequence[str], *, required: bool) -> list[Schema]:
    forms = []
    for name in names:
        others: Schema = {"properties": {other: {"type": "null"} for other in names if other != name}}
        if required:
            others |= {"required": [name]}
            others["properties"][name] = {"not": {"type": "null"}}
        forms.append(others)
    return forms
