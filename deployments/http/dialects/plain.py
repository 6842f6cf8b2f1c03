"""Field types that take the forms in which clients write one plain value: 2.0, "2", "true", {"text": ...}.

A number without a fraction is whole in JSON, however it is written. Strings are read as numbers and booleans only by
the bodies that say so (`Body.reads_strings`), as the servers of their dialects do, and only as JSON and Python write
them. Anything else is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from deployments.http.dialects import shapes
from deployments.http.dialects.documents import text_of

_DIGITS = re.compile("0|-?[1-9][0-9]{0,17}")
_BOOLEANS = {"true": True, "false": False, "True": True, "False": False}


def _whole(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if info.context and isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value


def _not_zero(value: int) -> int:
    if value < -1 or value == 0:
        raise PydanticCustomError("max_tokens", "input should be -1 or greater than 0")
    return value


def _boolean(value: Any, info: ValidationInfo) -> Any:
    return _BOOLEANS.get(value, value) if info.context and isinstance(value, str) else value


def one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str | Mapping) else value


def _text(value: Any, info: ValidationInfo) -> Any:
    return text_of(value, info.field_name or "query") if isinstance(value, Mapping) else value


Positive = Annotated[PositiveInt, BeforeValidator(_whole)]
Priority = Annotated[int, Field(ge=0, le=999), BeforeValidator(_whole)]
CountOrAll = Annotated[NonNegativeInt, BeforeValidator(_whole)]
"""0 means all."""
MaxTokens = Annotated[int, BeforeValidator(_whole), AfterValidator(_not_zero), WithJsonSchema(shapes.MAX_TOKENS)]
"""-1 means as many as possible."""
Flag = Annotated[bool, BeforeValidator(_boolean)]
QueryText = Annotated[str, WithJsonSchema(shapes.NOT_BLANK)]
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema(shapes.QUERY)]
"""A string, {"text": ...}, or {"content": [...]} with parts of type text."""
Documents = Annotated[list[Any], WithJsonSchema(shapes.DOCUMENTS)]
AnyDocuments = Annotated[list[Any], WithJsonSchema(shapes.DOCUMENTS_OF_ANY_FIELDS)]
RankFields = Annotated[
    list[str] | None,
    Field(max_length=100, description="Fields of object documents to read; each needs one of them."),
]
OneOrMore = Annotated[list[Any], BeforeValidator(one_or_more), WithJsonSchema(shapes.ONE_OR_MORE)]
"""A list, or its only item."""
