"""The batch job on a real Ray: scores equal the library's, output files agree, and wrong input is refused early."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console

import reranker
from cluster.batch.job import BatchReport, run_batch
from cluster.batch.settings import BatchSettings
from cluster.sample import SAMPLE
from reranker import Reranker
from reranker.errors import CheckpointError, InvalidFile, JobRefused
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries
from reranker.settings import EngineSettings
from reranker.types import Candidate
from tests.checkpoints import rewrite_json

pytestmark = pytest.mark.filterwarnings("ignore::Warning:ray.data")  # Ray Data uses its own deprecated settings
CHECKPOINT = {"dtype": "float32", "device": "cpu"}
TOLERANCE = 1e-4
# Odd passages as they occur in real data: empty, too long, with a lone surrogate, and duplicates.
ODD_PASSAGES = {
    "empty": "",
    "long": "The tide table lists high water. " * 200,
    "half": "High tide is at noon \ud83d",
    "same-2": "High tide is at noon and at midnight.",
    "same-1": "High tide is at noon and at midnight.",
}


def batch_settings(inputs: Path, output: Path, suffix: str = "jsonl", **options: object) -> BatchSettings:
    return BatchSettings.model_validate(
        {
            "queries": inputs / f"queries.{suffix}",
            "corpus": inputs / f"corpus.{suffix}",
            "run": inputs / "run.trec",
            "output": output,
            "checkpoint": CHECKPOINT,
            "engine": {"threads": 1},
            **options,
        }
    )


def run_quietly(settings: BatchSettings) -> BatchReport:
    return run_batch(settings, Console(quiet=True))


def read_parts(output: Path) -> dict[str, dict[str, float]]:
    """query_id -> docid -> logit, in row order of the parts."""
    ranked: dict[str, dict[str, float]] = {}
    for part in sorted((output / "parquet").iterdir()):
        for row in pq.read_table(part).to_pylist():
            of_query = ranked.setdefault(row["query_id"], {})
            assert row["docid"] not in of_query
            of_query[row["docid"]] = row["logit"]
            assert row["rank"] == len(of_query)
    return ranked


def append(path: Path, lines: list[str]) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    scratch = tempfile.mkdtemp(prefix="rr-")  # a short path, because it holds sockets
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=4, include_dashboard=False, _temp_dir=scratch, log_to_driver=False)
    yield
    ray.shutdown()
    shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture(scope="module")
def odd_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample, plus a query with ODD_PASSAGES as its candidates."""
    inputs = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("inputs") / "odd"))
    append(inputs / "queries.jsonl", [json.dumps({"_id": "odd", "text": "when is high tide"})])
    append(inputs / "corpus.jsonl", [json.dumps({"_id": key, "text": text}) for key, text in ODD_PASSAGES.items()])
    append(inputs / "run.trec", [f"odd Q0 {key} {n} {-n} bm25" for n, key in enumerate(ODD_PASSAGES)])
    return inputs


@pytest.fixture(scope="module")
def done(
    cluster: None, odd_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BatchSettings, BatchReport]:
    settings = batch_settings(odd_sample, tmp_path_factory.mktemp("jobs") / "a" / "b")
    return settings, run_quietly(settings)


@pytest.fixture(scope="module")
def scored(done: tuple[BatchSettings, BatchReport]) -> dict[str, dict[str, float]]:
    return read_parts(done[0].output)


def test_job_scores_and_order_equal_the_library_s(scored: dict[str, dict[str, float]], odd_sample: Path) -> None:
    queries, passages = read_queries(odd_sample / "queries.jsonl"), dict(iter_corpus(odd_sample / "corpus.jsonl"))
    library = Reranker(**CHECKPOINT, engine=EngineSettings(threads=1))
    run = read_run(odd_sample / "run.trec")
    assert {query_id: set(logits) for query_id, logits in scored.items()} == {
        query_id: set(docids) for query_id, docids in run.items()
    }
    assert list(scored) == list(run)
    assert all((np.diff(list(logits.values())) <= 0).all() for logits in scored.values())
    for query_id in [*list(scored)[:-1:3], "odd"]:
        logits = scored[query_id]
        expected = library.score(
            queries[query_id], [{"text": passages[docid].text, "title": passages[docid].title} for docid in logits]
        )
        np.testing.assert_allclose(list(logits.values()), expected, atol=TOLERANCE, rtol=0)
        assert (np.diff(expected) <= TOLERANCE).all()


def test_odd_passages_are_scored_and_duplicates_keep_run_order(
    scored: dict[str, dict[str, float]],
) -> None:
    odd = scored["odd"]
    assert odd.keys() == ODD_PASSAGES.keys()
    assert np.isfinite(list(odd.values())).all()
    assert odd["same-1"] == odd["same-2"]
    order = list(odd)
    assert order.index("same-1") == order.index("same-2") + 1


def test_run_equals_the_parquet_ranking(
    done: tuple[BatchSettings, BatchReport], scored: dict[str, dict[str, float]]
) -> None:
    run = done[0].output / "run.trec"
    assert read_run(run) == {query_id: list(logits) for query_id, logits in scored.items()}
    lines = [line.split() for line in run.read_text().splitlines()]
    written = {(line[0], line[2]): float(line[4]) for line in lines}
    for query_id, logits in scored.items():
        scores = [written[query_id, docid] for docid in logits]
        assert (np.diff(scores) < 0).all()
        assert scores == pytest.approx(list(logits.values()), abs=1e-5)


def test_success_is_written_last_with_a_checksum_of_every_file(done: tuple[BatchSettings, BatchReport]) -> None:
    settings, report = done
    output = settings.output
    manifest = json.loads((output / "_SUCCESS").read_text())
    files = {str(path.relative_to(output)): path for path in output.rglob("*") if path.is_file()}
    success, written = files.pop("_SUCCESS"), json.loads(files.pop("report.json").read_text())
    assert manifest["files"] == {
        name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in files.items()
    }
    assert success.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in files.values())

    pairs = len(Path(str(settings.run)).read_text().splitlines())
    counts = {"queries": 22, "pairs": pairs, "rows": pairs, "scored": pairs - 1, "empty": 1, "bad_rows": 0}
    assert {key: manifest["counts"][key] for key in counts} == counts == {key: written[key] for key in counts}
    assert manifest["counts"]["truncated"] > 0
    assert report.pairs_per_s == written["this_run"]["pairs_per_s"] > 0
    assert manifest["scale"]["model"] == "embedded"
    assert manifest["scale"]["dtype"] == "float32"
    again = BatchSettings.model_validate(manifest["settings"] | {"output": output})
    assert again == settings
    assert ray.is_initialized(), "a Ray session of the caller is not shut down"


def test_output_of_a_finished_job_is_refused_and_unchanged(done: tuple[BatchSettings, BatchReport]) -> None:
    settings, _ = done
    before = (settings.output / "_SUCCESS").read_bytes()
    with pytest.raises(JobRefused, match="holds the result of an earlier job: choose another --output"):
        run_quietly(settings)
    assert (settings.output / "_SUCCESS").read_bytes() == before


@pytest.mark.slow
def test_deterministic_job_from_parquet_equals_the_library_and_skips_missing_rows(
    cluster: None, scored: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    for name in ("queries", "corpus"):
        rows = [json.loads(line) for line in (SAMPLE / f"{name}.jsonl").read_text().splitlines()]
        if name == "queries":
            rows = [row | {"_id": int(row["_id"])} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    lines = (SAMPLE / "run.trec").read_text().splitlines()
    kept = {str(query_id) for query_id in range(9)}
    append(tmp_path / "run.trec", [line for line in lines if line.split()[0] in kept])
    append(tmp_path / "run.trec", ["unknown Q0 0-1 1 1.0 t", "0 Q0 nowhere 99 99.0 t", "only Q0 nowhere 1 1.0 t"])
    alone = {"threads": 1, "deterministic": True}
    settings = batch_settings(tmp_path, tmp_path / "out", "parquet", top_k=3, max_bad_rows=3, engine=alone)
    settings.output.mkdir()  # an empty directory is accepted

    report = run_quietly(settings)
    assert (report.queries, report.pairs, report.rows, report.bad_rows) == (9, 180, 27, 3)
    letters = [json.loads(line) for line in (settings.output / "bad_rows.jsonl").read_text().splitlines()]
    assert [(row.get("query_id"), row.get("docid")) for row in letters] == [
        ("unknown", None),
        ("only", None),
        (None, "nowhere"),
    ]

    top = read_parts(settings.output)
    assert list(top) == [query_id for query_id in scored if query_id in kept]
    for query_id, logits in top.items():
        best = list(scored[query_id].items())[:3]
        assert list(logits.values()) == pytest.approx([logit for _, logit in best], abs=TOLERANCE)
        assert all(scored[query_id][docid] == pytest.approx(logit, abs=TOLERANCE) for docid, logit in logits.items())
    assert read_run(settings.output / "run.trec") == {query_id: list(logits) for query_id, logits in top.items()}

    library = Reranker(**CHECKPOINT, engine=EngineSettings(**alone))
    queries, passages = read_queries(SAMPLE / "queries.jsonl"), dict(iter_corpus(SAMPLE / "corpus.jsonl"))
    for query_id, logits in top.items():
        documents = [Candidate(passages[docid], docid) for docid in logits]
        assert list(logits.values()) == library.score(queries[query_id], documents).tolist()


def test_missing_queries_and_passages_are_counted_before_output_is_written(tmp_path: Path) -> None:
    inputs = Path(shutil.copytree(SAMPLE, tmp_path / "in"))
    append(inputs / "run.trec", ["q-x Q0 0-1 1 1.0 t", "0 Q0 p-x 99 9.0 t", "0 Q0 p-y 99 9.0 t"])
    with pytest.raises(InvalidFile, match=r"names 1 queries and 2 passages that are in no file \(such as 'q-x'\)"):
        run_quietly(batch_settings(inputs, tmp_path / "out"))
    (inputs / "run.trec").write_text("q-x Q0 p-x 1 1.0 t\n")
    with pytest.raises(InvalidFile, match="none of its candidates is in the query and corpus files"):
        run_quietly(batch_settings(inputs, tmp_path / "out", max_bad_rows=2))
    assert not (tmp_path / "out").exists()


def test_job_refuses_a_directory_with_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(JobRefused, match="is not empty and holds no job"):
        run_quietly(batch_settings(SAMPLE, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes"]


def test_job_refuses_a_wrong_checkpoint_before_output_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a directory"):
        run_quietly(batch_settings(SAMPLE, tmp_path / "out", checkpoint={"model": "./nowhere"}))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_failing_scorer_ends_the_command_with_one_line(tmp_path: Path) -> None:
    """The command starts Ray itself, and the failure occurs in an actor of the Ray Data job."""
    damaged = Path(shutil.copytree(Path(reranker.__file__).parent / "embedded", tmp_path / "damaged"))
    manifest = json.loads((damaged / "reranker.json").read_text())
    manifest["golden"][0] |= {"logit": 9.0, "logit_bfloat16": 9.0}
    rewrite_json(damaged / "reranker.json", golden=manifest["golden"])
    scratch = tempfile.mkdtemp(prefix="rr-")
    files = [f"--{name}={SAMPLE / name}.jsonl" for name in ("queries", "corpus")]
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "cluster",
            "batch",
            *files,
            f"--run={SAMPLE / 'run.trec'}",
            "--output=out",
            "--model",
            damaged,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"RAY_TMPDIR": scratch},
    )
    shutil.rmtree(scratch, ignore_errors=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("reranker: golden pair 0 scores ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"job.json", "work"}, "--resume can go on"
