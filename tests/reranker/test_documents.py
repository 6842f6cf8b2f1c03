"""Parsing of queries, documents and pairs: the forms that are accepted, and errors that say what to pass."""

from collections import deque
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reranker.documents import (
    check_top_n,
    check_truncation,
    checked_list,
    checked_query,
    parse_document,
    parse_documents,
    parse_pairs,
    parse_queries,
)
from reranker.errors import EmptyField, InvalidField
from reranker.types import Candidate, Passage


class Frame:
    """Has what polars' DataFrame has: `columns`, and iteration over columns."""

    columns = ("id", "text")

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.mark.parametrize(
    ("document", "candidate"),
    [
        ("a table", Candidate(Passage("a table"))),
        ("", Candidate(Passage(""))),
        ({"text": "a"}, Candidate(Passage("a"))),
        ({"id": "7", "title": "t", "text": "a"}, Candidate(Passage("a", "t"), "7")),
        ({"id": None, "title": None, "text": ""}, Candidate(Passage(""))),
        (Candidate(Passage("a"), "7"), Candidate(Passage("a"), "7")),
    ],
)
def test_document_forms(document: object, candidate: Candidate) -> None:
    assert parse_document(document) == candidate


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (3, "document: must be a string or {.*}, got int"),
        (None, "document: must be a string or {.*}, got None"),
        (["a"], "document: must be a string or {.*}, got list"),
        (Passage("a"), "document: must be a string or {.*}, got Passage"),
        ({}, "document.text: is missing"),
        ({"title": "t"}, "document.text: is missing"),
        ({"text": None}, "document.text: is missing"),
        ({"text": 3}, "document.text: must be a string, got int"),
        ({"text": "a", "title": 3}, "document.title: must be a string, got int"),
        ({"text": "a", "id": 7}, "document.id: must be a string, got int"),
        ({"text": "a", "id": float("nan")}, "document.id: must be a string, got float"),
        (
            {"text": "a", "titel": "t", 3: "x"},
            r"document: has unknown fields \['3', 'titel'\]: use id, title and text",
        ),
    ],
)
def test_wrong_documents_are_refused_with_the_field_named(document: object, error: str) -> None:
    with pytest.raises(InvalidField, match=f"^{error}"):
        parse_document(document)


def test_int_ids_become_strings_only_with_int_ids() -> None:
    assert parse_document({"text": "a", "id": 7}, int_ids=True).docid == "7"
    for wrong in (True, 7.0, ["7"]):
        with pytest.raises(InvalidField, match=r"document\.id: must be a string"):
            parse_document({"text": "a", "id": wrong}, int_ids=True)


def test_other_fields_are_ignored_only_with_extra_fields() -> None:
    document = {"text": "a", "url": "http://…", "score": 3}
    assert parse_document(document, extra_fields=True) == Candidate(Passage("a"))
    with pytest.raises(InvalidField, match="unknown fields"):
        parse_document(document)
    with pytest.raises(InvalidField, match=r"document\.text: is missing"):
        parse_document({"title": "t", "body": "a"}, extra_fields=True)


@pytest.mark.parametrize("sequence", [["a", "b"], ("a", "b"), deque("ab")], ids=lambda value: type(value).__name__)
def test_any_sequence_of_documents_is_accepted(sequence: object) -> None:
    assert parse_documents(sequence) == (Candidate(Passage("a")), Candidate(Passage("b")))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("tide", "got str: put it in a list"),
        (b"tide", "got bytes: put it in a list"),
        ({"text": "tide"}, "got dict: put it in a list"),
        (Candidate(Passage("tide")), "got Candidate: put it in a list"),
        (pd.DataFrame({"text": ["tide"]}), "got DataFrame: pass its text column as a list, or its rows as a list of"),
        (Frame(), "got Frame: pass its text column as a list"),
        (pd.Series(["tide"]), "got Series: convert it to a list"),
        (np.array(["tide"]), "got ndarray: convert it to a list"),
        ({"tide"}, "got set: convert it to a list"),
        ((text for text in ["tide"]), "got generator: convert it to a list"),
        ({"a": "tide"}.values(), "got dict_values: convert it to a list"),
        (None, "got None"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_values_that_are_no_list_are_refused_with_advice(value: object, error: str) -> None:
    with pytest.raises(InvalidField, match=f"^documents: must be a list, {error}"):
        checked_list(value, "documents")


def test_wrong_document_in_a_list_is_named_by_its_position() -> None:
    with pytest.raises(InvalidField, match=r"^texts\.1\.text: must be a string"):
        parse_documents(["a", {"text": 3}], "texts")


@pytest.mark.parametrize("field", ["query", "--query"])
def test_query_needs_more_than_whitespace(field: str) -> None:
    assert checked_query(" tide ", field) == " tide "
    for empty in ("", " \n\t\u3000"):
        with pytest.raises(EmptyField, match=f"^{field}: is empty: a query needs at least one character"):
            checked_query(empty, field)
    for wrong in (None, 3, b"tide"):
        with pytest.raises(InvalidField, match=f"^{field}: must be a string, got"):
            checked_query(wrong, field)


@pytest.mark.parametrize(
    ("queries", "lists", "error"),
    [
        (["a", "b"], [["x"]], "documents: got 1 lists for 2 queries: pass one list of documents for each query"),
        ([], ["x"], "documents: got 1 lists for 0 queries"),
        (["a", "b"], ["x", "y"], r"documents\.0: must be a list, got str"),
        (["a", "b"], "xy", "documents: must be a list, got str"),
        (["a", " "], [["x"], ["y"]], r"query\.1: is empty"),
        (["a", "b"], [["x"], ["y", 3]], r"documents\.1\.1: must be a string"),
        (3, ["x"], "query: must be a string or a list of strings, got int"),
        ({"a"}, [["x"]], "query: must be a string or a list of strings, got set"),
    ],
)
def test_queries_and_lists_that_do_not_match_are_refused(queries: object, lists: object, error: str) -> None:
    with pytest.raises(InvalidField, match=f"^{error}"):
        parse_queries(queries, lists)


def test_one_pair_is_accepted_in_place_of_a_list() -> None:
    parsed = [("q", Passage("a")), ("r", Passage("b", "t"))]
    assert parse_pairs([("q", "a"), ["r", {"title": "t", "text": "b"}]]) == (parsed, False)
    assert parse_pairs(("q", "a")) == (parsed[:1], True)
    assert parse_pairs(["q", "a"]) == (parsed[:1], True)
    assert parse_pairs([]) == ([], False)


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ("ab", "pairs: must be a list, got str"),
        (["q", "a", "b"], r"pairs: must be a \(query, passage\) pair, got 3 values"),
        ([("q", "a"), "qa"], r"pairs\.1: must be a \(query, passage\) pair, got str"),
        ([("q",)], r"pairs\.0: must be a \(query, passage\) pair, got 1 values"),
        ([("q", 3)], r"pairs\.0\.passage: must be a string or"),
        ([(" ", "a")], r"pairs\.0\.query: is empty"),
        ([(None, "a")], r"pairs\.0\.query: must be a string"),
    ],
)
def test_wrong_pairs_are_named(pairs: object, error: str) -> None:
    with pytest.raises(InvalidField, match=f"^{error}"):
        parse_pairs(pairs)


@pytest.mark.parametrize("top_n", [0, -1, 1.0, True, "3", np.float64(2), float("nan")])
def test_top_n_below_1_or_of_another_type_is_refused(top_n: object) -> None:
    with pytest.raises(InvalidField, match=r"^top_n: must be a whole number of at least 1, or None for all, got "):
        check_top_n(top_n)


@pytest.mark.parametrize("top_n", [None, 1, 10**9, np.int64(3)])
def test_top_n_may_be_any_integer_type_or_none(top_n: object) -> None:
    check_top_n(top_n)


def test_unknown_truncation_is_refused_with_the_known_ones() -> None:
    check_truncation("max_passage")
    for wrong in ("left", None, True):
        with pytest.raises(InvalidField, match=r"^truncation: must be one of model, error, max_passage, got"):
            check_truncation(wrong)
