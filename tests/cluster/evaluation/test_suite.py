"""`reranker evaluate suite`: which directories are collections, and two of them reranked by the real batch job."""

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.evaluation.collection import find_collections
from cluster.evaluation.suite import read_first_stage
from cluster.sample import CORPUS, QRELS, QUERIES, RUN
from reranker import Reranker
from reranker.errors import InvalidFile
from reranker.ir.measures import evaluate
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries
from tests.cluster.conftest import Ended, Shell
from tests.cluster.evaluation.page import Page

pytestmark = pytest.mark.filterwarnings("ignore::Warning:ray.data")  # ray.data reads its own deprecated settings
DEPTH = 6


def write_collection(home: Path, query_ids: list[str], qrels: str = "qrels.tsv") -> Path:
    """Some queries of the sample, with all its passages; the qrels have one query that the run lacks."""
    home.mkdir(parents=True)
    header, *judgements = QRELS.read_text().splitlines()
    (home / qrels).parent.mkdir(exist_ok=True)
    judged = [line for line in judgements if line.split()[0] in query_ids]
    (home / qrels).write_text("\n".join([header, *judged, "no-such-query\t0-0\t1", ""]))
    run = RUN.read_text().splitlines()
    (home / "run.trec").write_text("".join(f"{line}\n" for line in run if line.split()[0] in query_ids))
    (home / "queries.jsonl").write_bytes(QUERIES.read_bytes())
    with gzip.open(home / "corpus.jsonl.gz", "wb") as file:
        file.write(CORPUS.read_bytes())
    return home


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    write_collection(tmp_path / "suite" / "two", ["3", "9"], qrels="qrels/test.tsv")
    write_collection(tmp_path / "suite" / "one", ["1", "4", "0"])
    (tmp_path / "suite" / ".cache").mkdir()
    (tmp_path / "suite" / "README").write_text("two collections")
    return tmp_path / "suite"


def test_first_stage_has_the_candidates_of_the_job_in_the_order_of_trec_eval(tmp_path: Path) -> None:
    """The job takes the first two of the file; trec_eval ranks the greater docid first among equal scores."""
    (tmp_path / "run.trec").write_text("".join(f"q Q0 {docid} 1 1.0 t\n" for docid in ("d1", "d2", "d3")))
    assert read_first_stage(tmp_path / "run.trec", depth=2) == {"q": ["d2", "d1"]}


def test_find_collections_returns_subdirectories_sorted_by_name(suite: Path, tmp_path: Path) -> None:
    one, two = find_collections(suite, tmp_path / "out")
    assert (one.name, two.name) == ("one", "two")
    assert one.qrels == suite / "one" / "qrels.tsv"
    assert two.qrels == suite / "two" / "qrels" / "test.tsv"
    assert two.corpus == suite / "two" / "corpus.jsonl.gz"
    assert (two.queries, two.run) == (suite / "two" / "queries.jsonl", suite / "two" / "run.trec")


def test_find_collections_accepts_a_single_collection(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_collections(suite / "two", tmp_path / "out") == find_collections(suite, tmp_path / "out")[1:]
    monkeypatch.chdir(suite / "two")
    (here,) = find_collections(Path(), tmp_path / "out")
    assert (here.name, here.run) == ("two", Path("run.trec"))


def test_find_collections_skips_the_output_directory(suite: Path) -> None:
    (suite / "out" / "one").mkdir(parents=True)
    assert [collection.name for collection in find_collections(suite, suite / "out")] == ["one", "two"]


def test_find_collections_prefers_an_uncompressed_file_to_a_gzipped_one(suite: Path, tmp_path: Path) -> None:
    shutil.copy(CORPUS, suite / "one")
    assert find_collections(suite / "one", tmp_path / "out")[0].corpus == suite / "one" / "corpus.jsonl"


def test_find_collections_names_every_missing_file_in_one_error(suite: Path, tmp_path: Path) -> None:
    (suite / "one" / "corpus.jsonl.gz").unlink()
    shutil.rmtree(suite / "two" / "qrels")
    (suite / "two" / "queries.jsonl").unlink()
    (suite / "zoo").mkdir()
    with pytest.raises(InvalidFile) as refused:
        find_collections(suite, tmp_path / "out")
    assert str(refused.value) == (
        f"{suite}: one lacks corpus.jsonl; two lacks queries.jsonl, qrels.tsv or qrels/test.tsv (each may be .gz)"
    ), "zoo has none of the files and is skipped"
    with pytest.raises(InvalidFile, match=rf"^{re.escape(str(suite / 'one'))}: lacks corpus.jsonl \(each"):
        find_collections(suite / "one", tmp_path / "out")


WRONG = {
    "suite nowhere --output out": "nowhere: no such directory",
    "suite passages.txt --output out": "passages.txt: is not a directory",
    "suite empty --output out": "empty: contains no collection, which is a directory with queries.jsonl, ",
    "suite suite --output suite": "suite: the result would be written into suite/one itself: choose another --output",
    "suite suite/one --output suite": "suite: the result would be written into suite/one itself",
    "suite suite --output passages.txt/out": "passages.txt/out: cannot be created: Not a directory",
    "suite suite --output out --depth 0": "--depth: Input should be greater than 0, got 0",
    "suite suite --output out --dtype int8": "--dtype: Input should be 'auto', 'float32'",
    "suite suite --output out --scorers 0": "--scorers: Input should be greater than 0, got 0",
    "suite suite --output out --html nowhere/p.html": "nowhere/p.html: cannot be written: No such file or directory",
    "suite unjudged --output out": "unjudged/one/run.trec: has none of the 3 queries that unjudged/one/qrels.tsv",
}


@pytest.mark.parametrize("command", WRONG)
def test_suite_refuses_invalid_input_before_scoring(shell: Shell, suite: Path, command: str) -> None:
    (shell.directory / "empty").mkdir()
    write_collection(shell.directory / "unjudged" / "one", ["3", "9"])
    (shell.directory / "unjudged" / "one" / "run.trec").write_text("other Q0 0-0 1 1.0 t\n")
    before = sorted(suite.rglob("*"))
    code, out, err = shell("evaluate", *command.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"reranker: {WRONG[command]}")
    assert err.count("\n") == 1
    assert sorted(suite.rglob("*")) == before
    assert not list(shell.directory.glob("out/*"))


class Reranked:
    """Results of the command on a suite, with a page and into `out`, and of the same command run again."""

    def __init__(self, shell: Shell, suite: Path) -> None:
        self.suite, self.out = suite, shell.directory / "out"
        command = ["evaluate", "suite", suite, "--output", "out", "--depth", DEPTH, "--dtype", "float32"]
        command += ["--device", "cpu", "--html", "out/report.html"]
        self.as_json = shell(*map(str, command), "--json")
        self.page = Page(self.out / "report.html")
        self.written = self.files()
        self.as_table = shell(*map(str, command))
        self.written_again = self.files()

    def files(self) -> dict[Path, tuple[int, bytes]]:
        """Modification time and content of every file of the jobs."""
        jobs = (path for name in ("one", "two") for path in (self.out / name).rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in jobs}

    @property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.as_json.out, parse_constant=pytest.fail)
        return answer


@pytest.fixture
def reranked(cluster: None, shell: Shell, suite: Path) -> Reranked:
    return Reranked(shell, suite)


@pytest.mark.slow
def test_suite_is_reranked_measured_and_not_scored_again_when_resumed(reranked: Reranked) -> None:
    for ended in (reranked.as_json, reranked.as_table):
        assert ended.code == 0, ended.err
    check_rankings(reranked)
    check_json(reranked)
    check_table(reranked.as_table, reranked.answer)
    check_page(reranked)
    assert reranked.written
    assert reranked.written_again == reranked.written, "finished jobs are not run again"


def check_rankings(reranked: Reranked) -> None:
    """The run has each query's first candidates in the order of the library's scores."""
    library = Reranker(dtype="float32", device="cpu")
    queries, passages = read_queries(QUERIES), dict(iter_corpus(CORPUS))
    for name, query_ids in (("one", {"0", "1", "4"}), ("two", {"3", "9"})):
        first_stage, run = (read_run(home / name / "run.trec") for home in (reranked.suite, reranked.out))
        assert run.keys() == query_ids
        for query_id, docids in run.items():
            assert set(docids) == set(first_stage[query_id][:DEPTH])
            texts = [{"title": passages[docid].title, "text": passages[docid].text} for docid in docids]
            assert (np.diff(library.score(queries[query_id], texts)) <= 1e-4).all()


def check_json(reranked: Reranked) -> None:
    answer = reranked.answer
    assert (answer["model"], answer["depth"]) == ("embedded", DEPTH)
    assert [row["collection"] for row in answer["collections"]] == ["one", "two"]
    assert [(row["queries"], row["judged"], row["pairs"]) for row in answer["collections"]] == [
        (3, 4, 3 * DEPTH),
        (2, 3, 2 * DEPTH),
    ]
    for row, qrels_name in zip(answer["collections"], ("qrels.tsv", "qrels/test.tsv"), strict=True):
        name = row["collection"]
        qrels = read_qrels(reranked.suite / name / qrels_name)
        first_stage, run = (read_run(home / name / "run.trec") for home in (reranked.suite, reranked.out))
        cut = {query_id: docids[:DEPTH] for query_id, docids in first_stage.items()}
        before, after = row["runs"]
        assert (before["run"], after["run"]) == ("first stage", "reranked")
        assert before["per_query"] == evaluate(qrels, cut).per_query
        assert after["per_query"] == evaluate(qrels, run).per_query
        assert after["per_query"]["nDCG@10"]["no-such-query"] == 0
        assert before["mean"]["R@100"] == after["mean"]["R@100"], "the same candidates in another order"
        assert before["mean"]["nDCG@10"] != after["mean"]["nDCG@10"]
    for measure in ("nDCG@10", "nDCG@20", "AP", "RR", "R@100"):
        before, after = (
            np.mean([row["runs"][n]["mean"][measure] for row in answer["collections"]]) for n in range(2)
        )
        assert answer["mean"]["first stage"][measure] == pytest.approx(before)
        assert answer["mean"]["reranked"][measure] == pytest.approx(after)
        assert answer["mean"]["difference"][measure] == pytest.approx(after - before)


def check_table(ended: Ended, answer: dict[str, Any]) -> None:
    rows = [re.findall(r"[^│┃\s]+", line) for line in ended.out.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["one", "two", "mean"]
    for row, collection in zip(rows, answer["collections"], strict=False):
        before, after = (run["mean"]["nDCG@10"] for run in collection["runs"])
        against = collection["runs"][1]["against_first"]["nDCG@10"]
        counts = [str(collection["queries"]), str(collection["pairs"])]
        assert row[1:6] == [*counts, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
        assert row[6] == f"{against['p_value']:.2g}"
    means = answer["mean"]
    assert rows[2][1:3] == [f"{means[stage]['nDCG@10']:.4f}" for stage in ("first stage", "reranked")]


def check_page(reranked: Reranked) -> None:
    page = reranked.page
    assert page.problems == []
    assert page.headings[:1] == ["suite"]
    assert {"one", "two"} <= set(page.headings)
    heading, one, two, mean = page.tables[0]
    assert heading[:4] == ["collection", "queries", "judged", "pairs"]
    assert [one[:4], two[:4]] == [["one", "3", "4", "18"], ["two", "2", "3", "12"]]
    assert (mean[0], mean[5]) == ("mean", f"{reranked.answer['mean']['reranked']['nDCG@10']:.4f}")
    assert len(page.pictures) == 4
    assert len(page.ids) == len(set(page.ids))
    assert {ref.removeprefix("#") for ref in page.references} <= set(page.ids)
    texts = read_queries(QUERIES)
    assert any(" ".join(texts["3"].split()) in row for table in page.tables for row in table)
