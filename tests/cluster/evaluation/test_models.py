"""`reranker evaluate suite --models`: two small checkpoints of both families over two collections.

The jobs run in this process; `test_models_rerank_on_a_real_ray` runs the same command with Ray.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.evaluation.models import models_in
from reranker.ir.measures import differences, evaluate
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import read_run
from tests.checkpoints import write_bert, write_llama
from tests.cluster.conftest import Shell
from tests.cluster.evaluation.in_process import MODEL_OPTIONS, finish_jobs
from tests.cluster.evaluation.page import Page
from tests.cluster.evaluation.test_suite import write_collection

DEPTH, PRICE = 6, 3.6
SHOWN = ("nDCG@10", "nDCG@20", "AP")
COLLECTIONS = {"one": ["1", "4", "0"], "two": ["3", "9"]}


class Compared:
    """The models, the command and its outputs: `runs/bert/out` and `runs/llama/out` are called bert and llama."""

    def __init__(self, shell: Shell) -> None:
        self.shell, self.home = shell, shell.directory
        for name, query_ids in COLLECTIONS.items():
            write_collection(self.home / "suite" / name, query_ids)
        write_bert(self.home / "runs" / "bert" / "out")
        write_llama(self.home / "runs" / "llama" / "out")
        self.models = "runs/bert/out,./runs/llama/out"
        self.command = ["evaluate", "suite", "suite", "--output", "out", "--depth", str(DEPTH), *MODEL_OPTIONS]
        self.command += ["--models", self.models]

    def finish(self) -> None:
        finish_jobs(self.models, self.home / "suite", self.home / "out", DEPTH)

    def __call__(self, *options: str) -> str:
        """What the command prints."""
        ended = self.shell(*self.command, *options)
        assert ended.code == 0, ended.err
        return ended.out

    def engine(self, model: str, collection: str) -> dict[str, Any]:
        report = json.loads((self.home / "out" / model / collection / "report.json").read_text())
        figures: dict[str, Any] = report["this_run"]["engine"]
        return figures


@pytest.fixture
def compared(shell: Shell) -> Compared:
    prepared = Compared(shell)
    prepared.finish()
    return prepared


def test_models_are_measured_against_the_first_on_every_collection(compared: Compared) -> None:
    check_quality(compared, json.loads(compared("--json"), parse_constant=pytest.fail))


def check_quality(compared: Compared, answer: dict[str, Any]) -> None:
    assert [row["name"] for row in answer["models"]] == ["bert", "llama", "first stage"]
    assert [row["model"] for row in answer["models"]] == [*compared.models.split(","), None]
    assert [row["collection"] for row in answer["collections"]] == list(COLLECTIONS)
    for row, query_ids in zip(answer["collections"], COLLECTIONS.values(), strict=True):
        qrels = read_qrels(compared.home / "suite" / row["collection"] / "qrels.tsv")
        counts = (len(query_ids), len(query_ids) + 1, DEPTH * len(query_ids))
        assert (row["queries"], row["judged"], row["pairs"]) == counts
        runs = [read_run(compared.home / "out" / name / row["collection"] / "run.trec") for name in ("bert", "llama")]
        first, second = (evaluate(qrels, run) for run in runs)
        assert [run["run"] for run in row["runs"]] == ["bert", "llama", "first stage"]
        assert [run["mean"] for run in row["runs"][:2]] == [first.aggregate, second.aggregate]
        assert first.aggregate["nDCG@10"] != second.aggregate["nDCG@10"]
        assert "against_first" not in row["runs"][0]
        for measure, difference in differences(first, [second])[0].items():
            against = row["runs"][1]["against_first"][measure]
            assert against["difference"] == pytest.approx(difference.mean)
        assert row["runs"][2]["mean"]["R@100"] == first.aggregate["R@100"], "the same candidates in another order"
    for place, model in enumerate(answer["models"]):
        for measure in SHOWN:
            means = [row["runs"][place]["mean"][measure] for row in answer["collections"]]
            assert model["mean"][measure] == pytest.approx(np.mean(means))
            if place:
                against = model["against_first"][measure]
                assert against["difference"] == pytest.approx(
                    model["mean"][measure] - answer["models"][0]["mean"][measure]
                )
                assert against["p_value"] is None or 0 <= against["p_value"] <= 1
    assert "against_first" not in answer["models"][0]


def test_costs_are_those_that_the_jobs_measured(compared: Compared) -> None:
    check_costs(compared, json.loads(compared("--json", "--price-per-hour", str(PRICE))))


def check_costs(compared: Compared, answer: dict[str, Any]) -> None:
    *models, first_stage = answer["models"]
    assert "cost" not in first_stage
    for model in models:
        engines = [compared.engine(model["name"], collection) for collection in COLLECTIONS]
        pairs, seconds = (sum(engine[name] for engine in engines) for name in ("pairs", "seconds"))
        assert pairs == DEPTH * sum(map(len, COLLECTIONS.values()))
        cost = model["cost"]
        assert (cost["pairs"], cost["device"], cost["warm"]) == (pairs, "cpu", False)
        assert cost["seconds_per_100_documents"] == pytest.approx(100 * seconds / pairs)
        assert cost["per_million_pairs"] == pytest.approx(1000 * seconds / pairs), "3.6 an hour is 0.001 a second"
        assert cost["peak_bytes"] == max(engine["peak_bytes"] for engine in engines) > 10**8


def test_table_shows_the_figures_of_the_json(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    answer, printed = json.loads(compared("--json")), compared("--price-per-hour", "2.5")
    lines = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in line] for line in lines]
    means = [row for row in rows if row[0] in ("bert", "llama", "first stage")]
    assert len(means) == 3
    for row, model in zip(means, answer["models"], strict=True):
        assert row[1:4] == [f"{model['mean'][measure]:.4f}" for measure in SHOWN]
    assert means[0][4] == f"{answer['models'][0]['cost']['seconds_per_100_documents']:.3g}*"
    assert [row[:3] for row in rows if row[0] == "two"] == [
        ["two", "bert", f"{answer['collections'][1]['runs'][0]['mean']['nDCG@10']:.4f}"]
    ]
    assert "cost per million pairs" in printed


def test_page_has_the_picture_of_quality_against_cost_and_short_names(compared: Compared) -> None:
    compared("--price-per-hour", "2.5", "--html", "out/page.html")
    check_page(compared)


def check_page(compared: Compared) -> None:
    page = Page(compared.home / "out" / "page.html")
    assert page.problems == []
    assert len(page.ids) == len(set(page.ids))
    assert {ref.removeprefix("#") for ref in page.references} <= set(page.ids)
    assert "runs/" not in page.source, "models are named by what tells them apart"
    costs = page.pictures[0]
    assert {"bert", "llama", "first stage"} <= set(costs.texts)
    assert any("cost per million pairs, at 2.5 per hour" in text for text in costs.texts)
    assert {"--run-0", "--run-1"} <= set(costs.colours)
    standings, by_collection = page.tables[:2]
    assert standings[0] == ["model", *SHOWN, "s for 100 documents", "memory, GB", "device", "cost per million pairs"]
    assert [row[0] for row in standings[1:]] == ["bert", "llama", "first stage"]
    assert by_collection[0] == ["collection", "bert", "llama", "first stage"]
    assert [row[0] for row in by_collection[1:]] == ["one", "two", "mean"]
    assert set(COLLECTIONS) <= set(page.headings)


def test_page_of_models_is_reproducible(compared: Compared) -> None:
    pages = []
    for name in ("first.html", "second.html"):
        compared("--html", name)
        pages.append((compared.home / name).read_text())
    assert pages[0] == pages[1]


def test_cost_that_no_report_has_is_left_out(compared: Compared) -> None:
    for collection in COLLECTIONS:
        path = compared.home / "out" / "bert" / collection / "report.json"
        report = json.loads(path.read_text())
        del report["this_run"]["engine"]  # as an older version wrote it
        path.write_text(json.dumps(report))
    answer = json.loads(compared("--json", "--price-per-hour", "1", "--html", "page.html"))
    assert ["cost" in model for model in answer["models"]] == [False, True, False]
    page = Page(compared.home / "page.html")
    assert page.tables[0][1][-4:] == ["–"] * 4
    assert "bert" not in page.pictures[0].texts


@pytest.mark.parametrize(
    ("models", "names"),
    [
        ("embedded", ["embedded"]),
        ("embedded, org/dear-8b", ["embedded", "dear-8b"]),
        ("ours/dear,org/dear", ["ours", "org"]),
        ("runs/bert/out,runs/llama/out", ["bert", "llama"]),
    ],
)
def test_models_are_named_by_what_tells_them_apart(models: str, names: list[str]) -> None:
    assert list(models_in(models)) == names


def test_name_of_a_directory_never_leads_out_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "usr").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    assert list(models_in(".,sub,..")) == ["model", "sub", tmp_path.name]
    assert not any(Path(name).is_absolute() for name in models_in(f"/usr,{tmp_path}/usr"))


WRONG = {
    "--models embedded,": "--models: 'embedded,' has an empty name: give models separated by commas, as in A,B",
    "--models embedded,embedded": "--models: 'embedded' is given twice",
    "--models suite,./suite": "--models: './suite' is given twice",
    "--models embedded,nowhere/at/all": "nowhere/at/all is not a directory on this machine",
    "--models embedded --model suite": "--models: give either --model or --models",
    "--models embedded,suite --revision main": "--revision: belongs to one model: download it first",
    "--price-per-hour 2": "--price-per-hour: needs --models",
    "--models embedded --price-per-hour 0": "--price-per-hour: must be a number above 0, got 0",
    "--models embedded --price-per-hour nan": "--price-per-hour: must be a number above 0, got nan",
    "--models embedded --depth 0": "--depth: Input should be greater than 0, got 0",
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_models_and_prices_are_refused_before_scoring(shell: Shell, options: str) -> None:
    write_collection(shell.directory / "suite", ["3", "9"])
    code, out, err = shell("evaluate", "suite", "suite", "--output", "out", *options.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"reranker: {WRONG[options]}")
    assert err.count("\n") == 1
    assert not list(shell.directory.glob("out/*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:ray.data")  # ray.data reads its own deprecated settings
def test_models_rerank_on_a_real_ray(cluster: None, shell: Shell) -> None:
    """One call scores, with the page; the next finds every job finished and gives the same figures."""
    compared = Compared(shell)
    options = ("--json", "--price-per-hour", str(PRICE))
    answer = json.loads(compared(*options))
    check_quality(compared, answer)
    check_costs(compared, answer)
    parts = {path: path.stat().st_mtime_ns for path in (compared.home / "out").rglob("*.parquet")}
    assert len(parts) == 4
    assert json.loads(compared(*options)) == answer
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    compared("--price-per-hour", "2.5", "--html", "out/page.html")
    check_page(compared)
