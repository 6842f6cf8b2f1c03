"""Templates: what they write, and which are refused."""

import pytest
from pydantic import ValidationError

from reranker.prompt import BARE, DEAR, PromptTemplate
from reranker.types import Passage


def template(*pieces: object, **keys: object) -> PromptTemplate:
    return PromptTemplate.model_validate({"name": "t", "special_tokens": "none", "pieces": pieces, **keys})


def test_dear_writes_two_spaces_without_a_title() -> None:
    assert DEAR.query("tide") == "query: tide"
    assert DEAR.passage(Passage("low water")) == "document:  low water"
    assert DEAR.passage(Passage("low water", "Tides")) == "document: Tides low water"


def test_bare_joins_title_and_text_by_one_space() -> None:
    assert BARE.passage(Passage("low water")) == "low water"
    assert BARE.passage(Passage("low water", "Tides")) == "Tides low water"


def test_texts_around_the_document_are_told_from_it() -> None:
    written = template("{{x}} {instruction} {query} <d> {title}: {text} </d> {query}!", instruction="default")
    piece = written.pieces[0]
    assert piece.around("Q", "I") == ("{x} I Q <d> ", " </d> Q!")
    assert piece.document(Passage("text", "title")) == "title: text"
    assert written.passage(Passage("text", "title")) == "{x} default  <d> title: text </d> !"


def test_texts_with_braces_are_written_as_they_are() -> None:
    piece = template("{query} {document}").pieces[0]
    assert piece.around("{0} {query} {{", "")[0] == "{0} {query} {{ "
    assert piece.document(Passage("{document}")) == "{document}"


@pytest.mark.parametrize(
    ("pieces", "keys", "problem"),
    [
        (("{query} {title}",), {}, "the document's text must be in one piece"),
        (("{query} {text}", "{text}"), {}, "the document's text must be in one piece"),
        (("{document}",), {}, "no piece has the query"),
        (("{query} {body}",), {}, "{body} is not known"),
        (("{query} {}",), {}, "{} is not known"),
        (("{query} {document!r}",), {}, "{document} is not known"),
        (("{query} {document:>9}",), {}, "{document} is not known"),
        (("{query} {document",), {}, "expected '}'"),
        (("{title} {query} {text}",), {}, "another slot between {title} and {text}"),
        (("{query} {document} {instruction}",), {}, "needs an instruction for requests without one"),
        (("{query} {document}",), {"instruction": "find"}, "only such a template takes one"),
        (("{query}", "{document}", "end"), {"special_tokens": "pair"}, "a text pair has two pieces"),
        (("{document}", "{query}"), {"special_tokens": "pair"}, "a text pair has two pieces"),
        (({"text": "{query}", "with_instruction": "find {query}"}, "{document}"), {}, "has the slots of the text"),
        (({"text": "{query}", "max_share": 1.5}, "{document}"), {}, "max_share"),
        ((), {}, "pieces"),
    ],
)
def test_template_that_cannot_be_right_is_refused(
    pieces: tuple[object, ...], keys: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        template(*pieces, **keys)
    assert problem in str(refused.value)
