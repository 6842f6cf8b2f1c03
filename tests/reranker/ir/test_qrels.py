"""Qrels: which columns are which, and what is refused with which error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import InvalidFile
from reranker.ir.json_rows import Record
from reranker.ir.qrels import MAX_GRADE, read_qrels
from tests.reranker.ir.files import EVERY_FORMAT, content_of, text_file

QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
        "q1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
        "q1 d1 2\nq1  d2 0\nq2 d1 -1.0\n",
        "q1 0 d1 2\nq1 0 d2 0\nq2 Q0 d1 -1\n",
        "q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td1\t-1\n",
        "\ufeff\n \nQuery-ID\tCorpus-ID\tScore\r\n\nq1\td1\t2\r\nq1\td2\t0\r\nq2\td1\t-1",
        "query_id\tdoc_id\trelevance\titeration\nq1\td1\t2\t0\nq1\td2\t0\t0\nq2\td1\t-1\t0\n",
        "topic iter docno rel\nq1 0 d1 2\nq1 0 d2 0\nq2 0 d1 -1\n",
        "Score,Query,DocID\n2,q1,d1\n0,q1,d2\n-1,q2,d1\n".replace(",", "\t"),
    ],
    ids=[
        "BEIR",
        "BEIR without header",
        "BEIR with spaces",
        "TREC",
        "TREC with tabs",
        "blank lines and capitals",
        "ir_datasets with header",
        "TREC with header",
        "another order",
    ],
)
@pytest.mark.parametrize("name", ["qrels", "qrels.txt", "test.tsv", "QRELS.TSV"])
def test_qrels_are_read_by_header_or_number_of_columns(content: str, name: str, tmp_path: Path) -> None:
    assert read_qrels(text_file(tmp_path, content, name)) == QRELS


@pytest.mark.parametrize("name", [*EVERY_FORMAT, "a.tsv.gz"])
@pytest.mark.parametrize("grade", ["score", "Relevance"])
def test_qrels_are_read_from_tables_in_every_format(name: str, grade: str, tmp_path: Path) -> None:
    rows: list[Record] = [
        {"query-id": query_id, "corpus-id": docid, grade: value}
        for query_id, judged in QRELS.items()
        for docid, value in judged.items()
    ]
    assert read_qrels(text_file(tmp_path, content_of(name, rows), name)) == QRELS


FORMS = "expected `query-id corpus-id score` or `qid 0 docid grade`"
GRADE = f"grade must be a whole number from -{MAX_GRADE} to {MAX_GRADE}, got "


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("q d\n", f":1: has 2 columns, {FORMS}"),
        ("q Q0 d 1 0.5 t\n", f":1: has 6 columns, {FORMS}"),
        ("q d 1\nq d 0\n", ":2: passage 'd' occurs twice for query 'q'"),
        ("q d 0.5\n", f":1: {GRADE}0.5"),
        ("q d 1e300\n", f":1: {GRADE}1e300"),
        ("q d 1000000000\n", f":1: {GRADE}1000000000"),
        ("q 0 d 1\nq 0 e -1000001\n", f":2: {GRADE}-1000001"),
        ("q d relevant\n", ":1: grade must be a finite number, got 'relevant'"),
        ("q d 1_0\n", ":1: grade must be a finite number, got '1_0'"),
        ("q d nan\n", ":1: grade must be a finite number, got 'nan'"),
        ("query-id corpus-id score\n", ": has no judgements"),
        ("query-id\tpassage\tscore\n", ":1: has no `corpus_id` or `docid` or "),
        ("q1\tdoc one\t1\n", ":1: `docid` 'doc one' contains spaces, which a TREC run cannot hold"),
        ("q1\t0\tdoc one\t1\n", ":1: `docid` 'doc one' contains spaces, which a TREC run cannot hold"),
        ("query-id\tcorpus-id\tscore\nq1\tdoc\u00a0one\t1\n", ":2: `docid` 'doc\\xa0one' contains spaces"),
        ("q1\t\t1\n", ":1: `docid` must be a string that is not empty, got ''"),
        ("q1\td1\t1\t0\n", ":1: has 'd1' where `qid 0 docid grade` has 0 or Q0: if its columns have another order"),
        ("q1 0 d1 1\nq1 d2 1\n", ":2: has 3 columns where 4 are expected: query_id iteration docid grade"),
        ("query-id\tcorpus-id\tscore\nq1\t\td1\t1\n", ":2: has 4 columns where 3 are expected: query_id docid grade"),
    ],
)
def test_bad_qrels_are_refused(content: str, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, content, "qrels.tsv")
    with pytest.raises(InvalidFile) as caught:
        read_qrels(path)
    assert str(caught.value).startswith(f"{path}{problem}")
    assert "\n" not in str(caught.value)


IDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=4).filter(
    lambda name: "\t" not in name
)
ANY_QRELS = st.dictionaries(
    IDS, st.dictionaries(IDS, st.integers(-MAX_GRADE, MAX_GRADE), min_size=1, max_size=3), min_size=1, max_size=3
)


@given(qrels=ANY_QRELS, form=st.sampled_from(["{} 0 {} {}", "{}\tQ0\t{}\t{}", "{}\t{}\t{}", "{} {} {}"]))
def test_any_qrels_are_read_as_they_were_written(
    qrels: dict[str, dict[str, int]], form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [form.format(query, docid, grade) for query, judged in qrels.items() for docid, grade in judged.items()]
    path = text_file(tmp_path_factory.getbasetemp(), "\n".join(["", *lines]), "qrels")
    assert read_qrels(path) == qrels


@pytest.mark.parametrize("name", [*EVERY_FORMAT, "qrels", "qrels.gz"])
@given(content=st.binary(max_size=60) | st.text('q0d1 \t\n\r",{}[]:\u00e9-', max_size=40).map(str.encode))
def test_any_bytes_are_qrels_or_a_clear_error(
    name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = text_file(tmp_path_factory.getbasetemp(), content, name)
    try:
        qrels = read_qrels(path)
    except InvalidFile as error:
        message = str(error)
    else:
        message = f"{path} {len(qrels)}"
    assert message.startswith(str(path))
    assert "\n" not in message
