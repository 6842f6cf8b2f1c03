"""The Python API: rankings, scores and pairs, and errors that name the argument."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from reranker import EmptyField, InvalidField, NonFiniteLogit, PairTooLong, Reranker
from reranker.pairs import EncodedPairs, FloatArray

QUERY = "when is high tide"
DOCUMENTS = [
    "Bread rises because of yeast.",
    {"id": "t1", "title": "Tide table", "text": "High tide is at noon."},
    "High tide is at noon and at midnight.",
    "",
]


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker(dtype="float32")


def test_rank_orders_by_the_logits_of_score(reranker: Reranker) -> None:
    scores = reranker.score(QUERY, DOCUMENTS)
    hits = reranker.rank(QUERY, DOCUMENTS)

    assert scores.dtype == np.float32
    assert [hit.index for hit in hits] == np.argsort(-scores).tolist()
    assert [hit.logit for hit in hits] == pytest.approx(sorted(scores, reverse=True))
    assert {hit.index: hit.id for hit in hits} == {0: None, 1: "t1", 2: None, 3: None}
    assert hits[0].index in (1, 2)
    assert not any(hit.truncated for hit in hits)


def test_hits_carry_their_documents(reranker: Reranker) -> None:
    for hit in reranker.rank(QUERY, DOCUMENTS):
        document = DOCUMENTS[hit.index]
        expected = ("", document) if isinstance(document, str) else (document["title"], document["text"])
        assert (hit.title, hit.text) == expected


def test_numpy_strings_score_as_strings(reranker: Reranker) -> None:
    texts = np.array(["High tide is at noon.", "Bread."])
    assert reranker.score(np.str_(QUERY), list(texts)).tolist() == reranker.score(QUERY, texts.tolist()).tolist()


def test_rankings_of_several_queries_equal_those_of_single_calls(family: Path) -> None:
    reranker = Reranker(str(family), dtype="float32")
    queries = [QUERY, "why does bread rise", "no documents", QUERY]
    lists = [DOCUMENTS, DOCUMENTS[::-1], [], ["the same", "the same", "Bread."]]
    together = reranker.rank(queries, lists)
    assert len(together) == 4
    for query, documents, hits in zip(queries, lists, together, strict=True):
        alone = reranker.rank(query, documents)
        assert [(hit.index, hit.id, hit.text, hit.tokens) for hit in hits] == [
            (hit.index, hit.id, hit.text, hit.tokens) for hit in alone
        ]
        assert [hit.logit for hit in hits] == pytest.approx([hit.logit for hit in alone], abs=2e-5)
    assert [len(hits) for hits in reranker.rank(queries, lists, 2)] == [2, 2, 0, 2]
    assert reranker.rank([], []) == []


def test_several_queries_are_scored_in_one_call_of_the_engine(
    reranker: Reranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    score = reranker._engine.score

    def counted(pairs: EncodedPairs) -> FloatArray:
        calls.append(len(pairs))
        return score(pairs)

    monkeypatch.setattr(reranker._engine, "score", counted)
    reranker.rank(["a", "b", "a"], [["x", "y"], ["x"], ["y", "z"]])
    assert calls == [4], "equal pairs are scored once"


def test_as_many_lists_of_documents_as_queries_are_required(reranker: Reranker) -> None:
    with pytest.raises(InvalidField, match="documents: got 1 lists for 2 queries"):
        reranker.rank(["a", "b"], [["x"]])
    with pytest.raises(InvalidField, match=r"documents\.0: must be a list, got str"):
        reranker.rank(["a", "b"], ["x", "y"])


def test_error_in_one_of_several_rankings_notes_its_query(reranker: Reranker) -> None:
    with pytest.raises(PairTooLong, match="document 0 ") as caught:
        reranker.rank(["a", "b"], [["x"], ["long " * 400]], truncation="error")
    assert caught.value.__notes__ == ["in the ranking of query 1"]


def test_predict_gives_scores_of_pairs_in_input_order(reranker: Reranker) -> None:
    pairs = [(QUERY, DOCUMENTS[0]), ("why does bread rise", DOCUMENTS[0]), [QUERY, DOCUMENTS[1]], (QUERY, "")]
    logits = reranker.predict(pairs, raw_scores=True)
    expected = [reranker.score(query, [document])[0] for query, document in pairs]
    assert logits.dtype == np.float32
    assert logits == pytest.approx(np.array(expected), abs=2e-5)
    scores = reranker.predict(pairs)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    assert reranker.predict([]).shape == (0,)


def test_predict_of_one_pair_is_one_number(reranker: Reranker) -> None:
    (expected,) = reranker.predict([(QUERY, "High tide is at noon.")])
    for pair in ((QUERY, "High tide is at noon."), [QUERY, "High tide is at noon."]):
        score = reranker.predict(pair)
        assert isinstance(score, np.float32)
        assert score == expected


def test_predict_names_the_pair_that_is_too_long(reranker: Reranker) -> None:
    pairs = [("b", "x"), ("a", "long " * 400), ("b", "y")]
    with pytest.raises(PairTooLong, match="document 1 "):
        reranker.predict(pairs, truncation="error")


def test_top_n_cuts_and_may_exceed_the_list(reranker: Reranker) -> None:
    whole = reranker.rank(QUERY, DOCUMENTS)
    assert reranker.rank(QUERY, DOCUMENTS, top_n=2) == whole[:2]
    assert reranker.rank(QUERY, DOCUMENTS, 99) == whole


def test_identical_documents_keep_input_order(reranker: Reranker) -> None:
    assert [hit.index for hit in reranker.rank(QUERY, ["the same"] * 5)] == [0, 1, 2, 3, 4]


def test_no_documents_give_an_empty_ranking(reranker: Reranker) -> None:
    assert reranker.rank(QUERY, []) == []
    assert reranker.score(QUERY, []).tolist() == []


def test_long_passages_are_cut_and_flagged_refused_or_read_in_windows(reranker: Reranker) -> None:
    long = "Bread rises because of yeast. " * 80 + "High tide is at noon and at midnight."
    (cut,) = reranker.rank(QUERY, [long])
    assert cut.truncated
    assert cut.tokens == 228
    with pytest.raises(PairTooLong, match="document 1 and the query exceed 228 tokens"):
        reranker.rank(QUERY, ["short", long], truncation="error")
    (best,) = reranker.rank(QUERY, [long], truncation="max_passage")
    assert not best.truncated
    assert best.logit > cut.logit + 2  # only the last window speaks of the tide
    assert best.tokens > 228


@pytest.mark.parametrize(
    ("documents", "field"),
    [
        ([3], "documents.0"),
        (["a", {"text": 3}], "documents.1.text"),
        ([{"id": 7, "text": "a"}], "documents.0.id"),
        ([{}], "documents.0.text"),
        ([{"text": "a", "body": "b"}], "documents.0"),
        ("tide", "documents"),
        ({"text": "tide"}, "documents"),
        (pd.DataFrame({"text": ["tide"]}), "documents"),
    ],
)
def test_wrong_document_is_named_in_the_error(reranker: Reranker, documents: Any, field: str) -> None:
    for ask in (reranker.rank, reranker.score):
        with pytest.raises(InvalidField) as caught:
            ask(QUERY, documents)
        assert caught.value.field == field


@pytest.mark.parametrize("query", ["", "  \n"])
def test_empty_query_is_refused(reranker: Reranker, query: str) -> None:
    for ask in (reranker.rank, reranker.score):
        with pytest.raises(EmptyField, match="query: is empty"):
            ask(query, ["a"])


@pytest.mark.parametrize("top_n", [0, 1.0, True, "3"])
def test_top_n_other_than_a_positive_integer_is_refused(reranker: Reranker, top_n: Any) -> None:
    with pytest.raises(InvalidField, match="top_n: must be a whole number of at least 1"):
        reranker.rank(QUERY, ["a"], top_n)


def test_unknown_truncation_is_refused(reranker: Reranker) -> None:
    for ask in (reranker.rank, reranker.score):
        with pytest.raises(InvalidField, match="truncation: must be one of model"):
            ask(QUERY, ["a"], truncation="left")
    with pytest.raises(InvalidField, match="truncation: must be one of model"):
        reranker.predict([(QUERY, "a")], truncation="left")


def test_settings_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValidationError, match="template"):
        Reranker(template="other")
    with pytest.raises(ValidationError, match="device"):
        Reranker(device="tpu")


def test_nan_never_reaches_a_ranking(family: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(family, tmp_path / "damaged"))
    weights = load_file(damaged / "model.safetensors")
    for name in ("score.weight", "classifier.weight"):
        if name in weights:
            weights[name][0, 0] = float("nan")
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    reranker = Reranker(str(damaged))
    for ask in (reranker.rank, reranker.score):
        with pytest.raises(NonFiniteLogit, match="no finite score for document 0"):
            ask(QUERY, ["a", "b"])
    with pytest.raises(NonFiniteLogit, match="no finite score for document 0"):
        reranker.predict([(QUERY, "a")])
