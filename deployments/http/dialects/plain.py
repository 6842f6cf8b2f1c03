"""Field types that take the forms in which clients write one plain value: 2.0, "2", "true", {"text": ...}.

A number without a fraction is whole in JSON, however it is written. Strings are read as numbers and booleans only by
the bodies that say so (`Body.reads_strings`), as the servers of their dialects do. Anything else is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt, ValidationInfo

from deployments.http.dialects.documents import text_of

_DIGITS = re.compile("[+-]?[0-9]{1,18}")
_BOOLEANS = {"true": True, "false": False}


def _whole(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if info.context and isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return value


def _boolean(value: Any, info: ValidationInfo) -> Any:
    return _BOOLEANS.get(value.strip().lower(), value) if info.context and isinstance(value, str) else value


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str | Mapping) else value


def _text(value: Any, info: ValidationInfo) -> Any:
    return text_of(value, info.field_name or "query") if isinstance(value, Mapping) else value


Whole = Annotated[int, BeforeValidator(_whole)]
Positive = Annotated[PositiveInt, BeforeValidator(_whole)]
CountOrAll = Annotated[NonNegativeInt, BeforeValidator(_whole)]
"""0 means all."""
Flag = Annotated[bool, BeforeValidator(_boolean)]
Text = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | dict[str, Any])]
"""A string, {"text": ...}, or {"content": [...]} with parts of type text."""
OneOrMore = Annotated[
    list[Any], BeforeValidator(_one_or_more, json_schema_input_type=str | dict[str, Any] | list[Any])
]
"""A list, or its only item."""
