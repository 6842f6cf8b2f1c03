"""`reranker evaluate` for runs: the table, the JSON, and the page with its pictures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from cluster.evaluation.comparison import run_names
from cluster.sample import QRELS, QUERIES, RUN
from reranker.ir.measures import evaluate, ndcg_by_depth
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import read_run
from reranker.ir.texts import read_queries
from tests.cluster.conftest import Shell
from tests.cluster.evaluation.page import Page

WITH_QRELS = ["--qrels", QRELS]
ODD_NAME = '<b>run of $x$ & "y" 漢.trec'
ODD_IDS = ["$q$<i>1</i>", "_q&2", "漢字-3", "#0a0001"]


@pytest.fixture
def reversed_run(shell: Shell) -> Path:
    """The sample's run with every query's candidates in reverse order."""
    path = shell.directory / "reversed.trec"
    lines = [line.split() for line in RUN.read_text().splitlines()]
    path.write_text("".join(f"{q} Q0 {docid} {rank} -{score} x\n" for q, _, docid, rank, score, _ in lines))
    return path


def test_evaluate_prints_the_measures_of_one_run(shell: Shell) -> None:
    code, out, err = shell("evaluate", *WITH_QRELS, RUN)
    assert (code, err) == (0, "")
    expected = evaluate(read_qrels(QRELS), read_run(RUN)).aggregate
    (row,) = (line for line in out.splitlines() if "run.trec" in line)
    assert re.findall(r"\d\.\d{4}", row) == [f"{value:.4f}" for value in expected.values()]
    assert re.findall(r"(nDCG@10|nDCG@20|AP|RR|R@100)\b", out) == list(expected)


def test_evaluate_compares_several_runs_with_the_first(shell: Shell, reversed_run: Path) -> None:
    code, out, err = shell("evaluate", *WITH_QRELS, RUN, reversed_run.name)
    assert (code, err) == (0, "")
    assert "21 judged queries" in out
    base, other = (next(line for line in out.splitlines() if name in line) for name in (" run.trec", "reversed.trec"))
    values = [[float(value) for value in re.findall(r"\d\.\d{4}", row)] for row in (base, other)]
    changes = [float(change) for change in re.findall(r"[+-]\d\.\d{4}", out)]
    assert changes == pytest.approx([after - before for before, after in zip(*values, strict=True)], abs=2e-4)
    assert len(changes) == len(re.findall(r"p=\d", out)) == 5


def test_evaluate_json_has_the_values_of_every_query(shell: Shell, reversed_run: Path) -> None:
    (shell.directory / "run.trec").write_bytes(RUN.read_bytes())
    runs = ["run.trec", reversed_run, RUN]
    code, out, err = shell("evaluate", "--json", *WITH_QRELS, *runs)
    assert (code, err) == (0, "")
    first, other, same = json.loads(out)["runs"]
    qrels, run = read_qrels(QRELS), read_run(RUN)
    expected = evaluate(qrels, run)
    assert first == {
        "run": "run.trec",
        "mean": expected.aggregate,
        "ndcg_by_depth": {str(depth): value for depth, value in ndcg_by_depth(qrels, run).items()},
        "per_query": expected.per_query,
    }
    assert [row["run"] for row in (other, same)] == ["reversed.trec", "sample/run.trec"]
    for measure, value in expected.aggregate.items():
        assert same["against_first"][measure] == {"difference": 0.0, "p_value": 1.0}
        difference = other["against_first"][measure]
        assert difference["difference"] == pytest.approx(other["mean"][measure] - value)
        assert 0 < difference["p_value"] <= 1


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["out/run.trec"], ["run.trec"]),
        (["bm25.trec", "out/run.trec"], ["bm25.trec", "run.trec"]),
        (["/data/base/run.trec", "/data/tuned/run.trec"], ["base", "tuned"]),
        (["small/out/run.trec", "large/out/run.trec"], ["small", "large"]),
        (["a/1/run.trec", "a/2/run.trec", "b/1/run.trec"], ["a/1", "a/2", "b/1"]),
        (["run.trec", "out/run.trec"], ["run.trec", "out/run.trec"]),
        (["out/run.trec", "out/run.trec"], ["run.trec", "run.trec"]),
        (["x/base/run.trec", "x/tuned/run.trec", "y/bm25.trec"], ["base", "tuned", "bm25.trec"]),
        (["x/base/run.trec", "x/tuned/run.trec", "y/base"], ["base/run.trec", "tuned/run.trec", "y/base"]),
        (["out/run.trec", "other.trec", "out/run.trec"], ["run.trec", "other.trec", "run.trec"]),
    ],
)
def test_run_names_keep_what_tells_the_paths_apart(paths: list[str], names: list[str]) -> None:
    assert run_names(list(map(Path, paths))) == names


def test_evaluate_json_has_null_for_an_undefined_p_value(shell: Shell) -> None:
    (shell.directory / "qrels").write_text("q 0 a 1\n")
    (shell.directory / "one").write_text("q Q0 a 1 2.0 t\n")
    (shell.directory / "two").write_text("q Q0 x 1 2.0 t\nq Q0 a 2 1.0 t\n")
    code, out, _ = shell("evaluate", "--qrels", "qrels", "one", "two", "--json")
    assert code == 0
    _, two = json.loads(out, parse_constant=pytest.fail)["runs"]
    assert two["against_first"]["RR"] == {"difference": -0.5, "p_value": None}


@pytest.mark.parametrize(("options", "ndcg"), [((), 0.8154648767857288), (("--ties", "file"), 1.0)])
def test_ties_are_ordered_as_trec_eval_orders_them_unless_asked(
    options: tuple[str, ...], ndcg: float, shell: Shell
) -> None:
    """0.8155 is what trec_eval, pytrec_eval and ir_measures give."""
    (shell.directory / "qrels").write_text("q1 0 d1 1\nq1 0 d2 0\nq2 0 d3 2\n")
    (shell.directory / "run").write_text("q1 Q0 d1 1 1.0 t\nq1 Q0 d2 2 1.0 t\nq2 Q0 d3 1 5 t\n")
    code, out, _ = shell("evaluate", "--qrels", "qrels", "run", "--json", *options)
    assert code == 0
    assert json.loads(out)["runs"][0]["mean"]["nDCG@10"] == pytest.approx(ndcg)


def test_evaluate_accepts_runs_named_like_subcommands(shell: Shell) -> None:
    for name in ("suite", "default"):
        (shell.directory / name).write_bytes(RUN.read_bytes())
    code, out, err = shell("evaluate", "default", "./suite", *WITH_QRELS)
    assert (code, err) == (0, "")
    assert all(name in out for name in ("default", "suite"))


def test_evaluate_without_a_page_imports_neither_ray_nor_matplotlib() -> None:
    program = f"""
import sys
from cluster.cli.main import main
try:
    main(["evaluate", "--qrels", {str(QRELS)!r}, {str(RUN)!r}])
except SystemExit:
    print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "ir_measures" in loaded
    assert not loaded & {"ray", "torch", "matplotlib", "transformers"}


@pytest.fixture
def page(shell: Shell, reversed_run: Path) -> Page:
    """A page of the sample's run, the reversed run and the sample's run again, with the query texts."""
    runs = [RUN, reversed_run.name, RUN]
    code, _, err = shell("evaluate", *runs, *WITH_QRELS, "--queries", QUERIES, "--html", "report.html")
    assert (code, err) == (0, "")
    return Page(shell.directory / "report.html")


def test_page_is_well_formed_and_references_nothing_outside(page: Page) -> None:
    assert page.problems == []
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert [ref for ref in page.references if not ref.startswith("#")] == []
    assert page.references
    assert {ref.removeprefix("#") for ref in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids)), "ids must be unique over all pictures"
    outside = set(re.findall(r"https?://[^\"' )]+", page.source))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "XML namespaces alone"
    assert "@import" not in page.source


def test_page_table_shows_the_measures_of_every_run(page: Page, reversed_run: Path) -> None:
    qrels = read_qrels(QRELS)
    base, other = (evaluate(qrels, read_run(path)).aggregate for path in (RUN, reversed_run))
    heading, first, second, third = page.tables[0]
    assert heading == ["run", *base]
    assert first == ["run.trec", *(f"{value:.4f}" for value in base.values())]
    assert second[0] == reversed_run.name
    for cell, name in zip(second[1:], base, strict=True):
        value, difference, p = cell.split(maxsplit=2)
        assert float(value) == pytest.approx(other[name], abs=1e-4)
        assert float(difference.replace("−", "-")) == pytest.approx(other[name] - base[name], abs=1e-4)
        assert re.fullmatch(r"p [\d.e-]+", p)
    assert all(cell.endswith("+0.0000 p 1") for cell in third[1:])


def test_page_lists_the_queries_with_the_largest_gains_and_losses(page: Page, reversed_run: Path) -> None:
    qrels, texts = read_qrels(QRELS), read_queries(QUERIES)
    base, other = (evaluate(qrels, read_run(path)).per_query["nDCG@10"] for path in (RUN, reversed_run))
    change = {query_id: other[query_id] - base[query_id] for query_id in qrels}
    better, worse = (sum(sign * value > 1e-9 for value in change.values()) for sign in (1, -1))
    assert better > 0
    assert worse > 10
    first, second = (text for text in page.captions if "query by query" in text)
    assert f"{better} better, {21 - better - worse} equal, {worse} worse" in first
    assert "0 better, 21 equal, 0 worse" in second

    gained, lost = page.tables[1:]
    assert gained[0] == ["query", "text", "run.trec", "reversed.trec", "gain"]
    for table, order in (
        (gained, sorted(change, key=lambda q: -change[q])[:better]),
        (lost, sorted(change, key=change.get)[:10]),
    ):
        assert [row[0] for row in table[1:]] == order
        for query_id, text, *numbers in table[1:]:
            assert text == " ".join(texts[query_id].split())
            before, after, difference = (float(number.replace("−", "-")) for number in numbers)
            assert (before, after) == pytest.approx((base[query_id], other[query_id]), abs=1e-4)
            assert difference == pytest.approx(change[query_id], abs=1e-4)


def test_page_draws_every_run_and_labels_every_bar(page: Page) -> None:
    depths, *bars = page.pictures
    assert len(bars) == 2
    for depth in (1, 3, 5, 10, 20, 50, 100):
        assert str(depth) in depths.texts
    assert {colour for colour in depths.colours if "run" in colour} == {"--run-0", "--run-1", "--run-2"}
    qrels = read_qrels(QRELS)
    for picture in bars:
        assert set(qrels) <= set(picture.texts)
    assert {"--better", "--worse"} <= set(bars[0].colours)
    for picture in page.pictures:
        assert re.findall(r"(?:fill|stroke): #", picture.source) == [], "every colour is a variable, for dark mode"


def test_page_of_a_single_run_has_one_table_and_one_picture(shell: Shell) -> None:
    code, _, err = shell("evaluate", RUN, *WITH_QRELS, "--html", "report.html")
    assert (code, err) == (0, "")
    page = Page(shell.directory / "report.html")
    assert page.problems == []
    assert (len(page.tables), len(page.pictures)) == (1, 1)


def test_page_shows_run_names_ids_and_queries_as_plain_text(shell: Shell) -> None:
    (shell.directory / "qrels").write_text("".join(f"{query_id} 0 a 1\n{query_id} 0 x 0\n" for query_id in ODD_IDS))
    (shell.directory / "base").write_text("".join(f"{query_id} Q0 x 1 2 t\n" for query_id in ODD_IDS))
    (shell.directory / ODD_NAME).write_text("".join(f"{query_id} Q0 a 1 2 t\n" for query_id in ODD_IDS))
    (shell.directory / "q.jsonl").write_text(json.dumps({"_id": ODD_IDS[0], "text": "<img src=x> $a \x07"}) + "\n")
    code, _, err = shell("evaluate", "--qrels", "qrels", "base", ODD_NAME, "--html", "o.html", "--queries", "q.jsonl")
    assert (code, err) == (0, "")
    page = Page(shell.directory / "o.html")
    assert page.problems == []
    assert page.tags.isdisjoint({"b", "i", "img"})
    assert page.tables[0][2][0] == ODD_NAME
    assert ODD_NAME in page.legend
    assert [row[0] for row in page.tables[1][1:]] == ODD_IDS
    assert page.tables[1][1][1] == "<img src=x> $a \ufffd"
    assert set(ODD_IDS) <= set(page.pictures[1].texts)


def test_pictures_shorten_long_ids_and_stay_small_with_thousands_of_bars(shell: Shell) -> None:
    for count, kept in ((2, True), (3000, False)):
        ids = [f"a-collection-of-long-ids-{n:04}" for n in range(count)]
        (shell.directory / "qrels").write_text("".join(f"{query_id} 0 a 1\n" for query_id in ids))
        (shell.directory / "base").write_text("".join(f"{query_id} Q0 a 1 2 t\n" for query_id in ids))
        depths = "".join(f"{query_id} Q0 x 1 9 t\n{query_id} Q0 a 2 {n % 9} t\n" for n, query_id in enumerate(ids))
        (shell.directory / "other").write_text(depths)
        code, _, err = shell("evaluate", "--qrels", "qrels", "base", "other", "--html", "report.html")
        assert (code, err) == (0, "")
        page = Page(shell.directory / "report.html")
        bars = page.pictures[1]
        assert any(text.endswith("-ids-0001") for text in bars.texts) is kept
        assert len(page.source) < 400_000


def test_page_is_reproducible_under_any_matplotlib_configuration(shell: Shell, page: Page) -> None:
    runs = [RUN, "reversed.trec", RUN]
    args = ["evaluate", *runs, *WITH_QRELS, "--queries", QUERIES, "--html"]
    with mpl.rc_context({"axes.labelsize": 30, "axes.linewidth": 5, "font.family": "serif"}):
        assert shell(*args, "again.html").code == 0
    assert (shell.directory / "again.html").read_text() == page.source
    assert shell(*args, "again.html").code == 0, "an older page is overwritten"


WRONG_PAGES = {
    "nowhere/report.html": "nowhere/report.html: cannot be written: No such file or directory",
    "passages.txt": "passages.txt: exists and is not an evaluation page: delete it or choose another file",
    "passages.txt/report.html": "passages.txt/report.html: cannot be written: Not a directory",
    ".": ".: is not a file, so no page can be written there",
}


@pytest.mark.parametrize("page_path", WRONG_PAGES)
def test_evaluate_refuses_an_unwritable_page_before_reading_runs(shell: Shell, page_path: str) -> None:
    passages = (shell.directory / "passages.txt").read_bytes()
    code, out, err = shell("evaluate", *WITH_QRELS, "no-such-run.trec", "--html", page_path)
    assert (code, out, err) == (2, "", f"reranker: {WRONG_PAGES[page_path]}\n")
    assert (shell.directory / "passages.txt").read_bytes() == passages
