"""Documents of any shape become text, or an error that names them."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.http.dialects.documents import as_yaml, read_documents
from reranker.errors import InvalidField

LIKE_YAML = st.text(alphabet="ab1 :#-'\"\n,[]{}&*!|>%@`?~=.é🌊", max_size=12) | st.sampled_from(["yes", "Null", "1"])


@given(st.dictionaries(LIKE_YAML, LIKE_YAML | st.text(max_size=20), min_size=1, max_size=3))
@example({"title": "t", "body": "Bread rises: why? [1] It's yeast, at 30% more.", "c": "a:b c"})
@example({"title": "off", "o": "on "})
def test_yaml_is_what_pyyaml_writes_and_reads_back_the_same(fields: dict[str, str]) -> None:
    text = as_yaml(fields)
    assert yaml.safe_load(text) == fields
    by_pyyaml = yaml.dump(fields, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=2**31 - 1)
    assert text == by_pyyaml.rstrip("\n")


def text_of(document: Any, **options: Any) -> str:
    return read_documents("documents", [document], **options)[0].passage.text


def test_object_without_text_is_all_its_strings_in_its_own_order() -> None:
    document = {"title": "t", "body": "Bread rises.", "pages": 3, "author": "Ada"}
    assert text_of(document, any_fields=True) == "title: t\nbody: Bread rises.\nauthor: Ada"
    assert text_of(document | {"text": "the text"}, any_fields=True) == "the text"


def test_fields_of_very_long_texts_are_refused_because_nothing_runs_while_they_are_written() -> None:
    with pytest.raises(InvalidField, match=r"documents.0: has more than 1048576 characters"):
        text_of({"title": "t", "body": "b" * 2**20}, any_fields=True)


def test_numbers_in_rank_fields_are_text() -> None:
    document = {"name": "tide", "height": 4.5, "hour": 7, "high": True}
    assert text_of(document, rank_fields=["hour", "name", "height", "high"]) == "7 tide 4.5"


def test_content_parts_are_joined() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert text_of({"content": content}) == "a\nb"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "a"}}]}, "documents.0.content.0"),
        ({"content": ["a"]}, "documents.0.content.0"),
        ({"content": [{"type": "text", "text": 3}]}, "documents.0.content.0"),
        ({"image": "http://a"}, "documents.0.text"),
        ({"pages": 3}, "documents.0.text"),
        ({}, "documents.0.text"),
        ({"text": None, "body": "a"}, "documents.0.text"),
        ({"id": {}, "body": "a"}, "documents.0.id"),
    ],
)
def test_document_without_text_is_refused_by_name(document: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read_documents("documents", [document], any_fields=True)
    assert caught.value.field == field
