"""For schemathesis: what no JSON schema can say of a body. See test_contract.py."""

from typing import Any

import schemathesis

from deployments.http.dialects.documents import read_query
from reranker.documents import checked_query
from reranker.errors import InvalidField

TOKENS = 100  # at most those that the model reads


@schemathesis.hook  # type: ignore[untyped-decorator,unused-ignore]
def map_body(context: Any, body: Any) -> Any:
    """One query, objects ranked by no fields of theirs, and no more tokens than a pair can have."""
    if not isinstance(body, dict):
        return body
    body = dict(body)
    fields = body.get("rank_fields")
    if isinstance(fields, list) and len(fields) <= 100 and all(isinstance(field, str) for field in fields):
        del body["rank_fields"]
    for name in ("queries", "text_1", "data_1"):
        if isinstance(body.get(name), list) and all(map(_is_query, body[name])):
            body[name] = body[name][:1]
    tokens = body.get("truncate_prompt_tokens")
    if isinstance(tokens, int | float) and tokens == int(tokens) and tokens > TOKENS:
        body["truncate_prompt_tokens"] = TOKENS
    if isinstance(tokens, str) and tokens.isascii() and tokens.isdecimal() and tokens[0] != "0":
        body["truncate_prompt_tokens"] = str(TOKENS)
    return body


def _is_query(value: Any) -> bool:
    try:
        return bool(checked_query(read_query(value, "")))
    except InvalidField:
        return False
