"""Runs: their order, bad lines, and how they are written."""

from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import InvalidFile
from reranker.ir.measures import evaluate
from reranker.ir.runs import read_run, run_lines, strictly_decreasing
from reranker.types import Ties
from tests.reranker.ir.files import text_file

LINES = [
    "b Q0 d5 1 0.5 t",
    "a Q0 d9 1 -2 t",
    "b Q0 d2 2 7e1 t",
    "b\tQ0\td8\t3\t0.5\tt",
    "b Q0 d1 4 0.5 t",
    "a Q0 d1 2 -1 t",
]


@pytest.mark.parametrize(("ties", "tied"), [("trec_eval", ["d8", "d5", "d1"]), ("file", ["d5", "d8", "d1"])])
def test_run_is_sorted_by_score_with_ties_as_trec_eval_or_the_file_has_them(
    ties: Ties, tied: list[str], tmp_path: Path
) -> None:
    run = read_run(text_file(tmp_path, "\n".join(LINES), "run.trec"), ties)
    assert run == {"b": ["d2", *tied], "a": ["d1", "d9"]}
    assert list(run) == ["b", "a"]


def test_scores_are_compared_in_the_precision_of_trec_eval_by_default(tmp_path: Path) -> None:
    """The first two differ in float64 alone, and so do the last two, which float32 cannot hold."""
    lines = ["q Q0 d1 1 1.00000001 t", "q Q0 d2 2 1.0 t", "q Q0 d3 3 -1e299 t", "q Q0 d4 4 -1e300 t"]
    path = text_file(tmp_path, "\n".join(lines), "run.trec")
    assert read_run(path) == {"q": ["d2", "d1", "d4", "d3"]}
    assert read_run(path, "file") == {"q": ["d1", "d2", "d3", "d4"]}


DOCIDS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=3)
TIED = st.sampled_from([1.0, 1.0000000000000002, 0.0, -0.0, 5e-324, 1e300, 1e299, -1e300, 0.1, 0.10000000001])


@given(
    scores=st.dictionaries(DOCIDS, TIED | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12),
    data=st.data(),
)
def test_default_order_gives_the_measures_of_trec_eval(
    scores: dict[str, float], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """pytrec_eval is trec_eval's own code, and sorts the scores itself."""
    grades = {docid: data.draw(st.integers(0, 3)) for docid in scores}
    lines = "".join(f"q Q0 {docid} 1 {score!r} t\n" for docid, score in scores.items())
    run = read_run(text_file(tmp_path_factory.getbasetemp(), lines, "tied.trec"))
    theirs = pytrec_eval.RelevanceEvaluator({"q": grades}, {"ndcg_cut_10", "map", "recip_rank"}).evaluate(
        {"q": scores}
    )
    ours = evaluate({"q": grades}, run).aggregate
    assert [ours["nDCG@10"], ours["AP"], ours["RR"]] == [
        theirs["q"][name] for name in ("ndcg_cut_10", "map", "recip_rank")
    ]


def test_byte_order_mark_and_crlf_are_stripped(tmp_path: Path) -> None:
    assert read_run(text_file(tmp_path, "\ufeffq Q0 d 1 1.5 tag\r\n", "run.trec")) == {"q": ["d"]}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q Q0 d2 2 nan t", "score must be a finite number, got 'nan'"),
        ("q Q0 d2 2 -inf t", "score must be a finite number, got '-inf'"),
        ("q Q0 d2 2 1e999 t", "score must be a finite number, got '1e999'"),
        ("q Q0 d2 2 high t", "score must be a finite number, got 'high'"),
        ("q Q0 d2 2 1_0 t", "score must be a finite number, got '1_0'"),
        ("q Q0 d1 2 0.5 t", "passage 'd1' occurs twice for query 'q'"),
        ("q d2 0.5", "has 3 columns, expected 6: qid Q0 docid rank score tag"),
        ("q Q0 d 2 2 0.5 t", "has 7 columns, expected 6: qid Q0 docid rank score tag"),
        ("q\tQ0\tdoc two\t2\t0.5\tt", "`docid` 'doc two' contains spaces, which a TREC run cannot hold"),
        ("q\tQ0\tdoc 2\t0.5\tt", "has 5 columns between tabs, expected 6: qid Q0 docid rank score tag"),
        ("q\tQ0\t\t2\t0.5\tt", "`docid` must be a string that is not empty, got ''"),
    ],
)
def test_bad_line_of_a_run_is_refused(line: str, problem: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, f"q Q0 d1 1 1.0 t\n\n{line}\n", "run.trec")
    with pytest.raises(InvalidFile) as caught:
        read_run(path)
    assert str(caught.value) == f"{path}:3: {problem}"


@given(content=st.binary(max_size=60) | st.text("qQ0d1 \t\n\r.", max_size=60).map(str.encode))
def test_any_bytes_are_a_run_or_a_clear_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = text_file(tmp_path_factory.getbasetemp(), content, "any.trec")
    try:
        run = read_run(path)
    except InvalidFile as error:
        message = str(error)
    else:
        message = f"{path} {len(run)}"
    assert message.startswith(str(path))
    assert "\n" not in message


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
LARGEST = float(np.finfo(np.float32).max)
LOGITS = st.lists(
    FLOATS | st.sampled_from([0.0, -0.0, 1.0, 1e-45, -1e-45, LARGEST, -LARGEST]), min_size=1, max_size=40
).map(lambda values: np.array(sorted(values, reverse=True), dtype=np.float32))


@given(logits=LOGITS)
def test_scores_of_a_written_run_strictly_decrease_and_keep_its_order(
    logits: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.trec"
    docids = [f"d{n}" for n in np.random.default_rng(0).permutation(len(logits))]
    path.write_text("".join(run_lines([("q", docids, logits), ("p", docids[:1], logits[:1])], tag="us")))

    columns = [line.split(" ") for line in path.read_text().splitlines()]
    assert [line[:4] for line in columns[:-1]] == [
        ["q", "Q0", docid, str(rank)] for rank, docid in enumerate(docids, 1)
    ]
    scores = np.array([line[4] for line in columns[:-1]], dtype=np.float32)
    assert np.isfinite(scores).all()
    assert (np.diff(scores.astype(np.float64)) < 0).all()
    assert read_run(path) == {"q": docids, "p": docids[:1]}


@given(logits=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
def test_strictly_decreasing_scores_change_only_ties_and_those_minimally(logits: list[float]) -> None:
    decreasing = np.array(sorted(logits, reverse=True), dtype=np.float32)
    scores = strictly_decreasing(decreasing)
    unique = decreasing[np.append(True, np.diff(decreasing) < 0)]
    if len(unique) == len(decreasing):
        assert scores.tolist() == decreasing.tolist()
    assert (scores <= decreasing).all()
    assert (decreasing - scores <= len(decreasing) * np.spacing(np.abs(decreasing).max())).all()


def test_run_with_more_docids_than_scores_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(run_lines([("q", ["a", "b"], np.array([1.0], dtype=np.float32))], tag="t"))
