"""A small collection, a training set made of it, and the settings of a run over it that takes a second."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.training.data.making import DataSettings, make_training_set
from tests.checkpoints import SAMPLE_TEXTS
from tests.cluster.conftest import Shell

QUERIES, PASSAGES, DEPTH = 8, 24, 6


def write_collection(directory: Path) -> Path:
    """Queries that repeat words of their one relevant passage, and a first stage that ranks it third."""
    directory.mkdir()
    texts = [f"{SAMPLE_TEXTS[number % len(SAMPLE_TEXTS)]} Number {number}." for number in range(PASSAGES)]
    corpus = [{"_id": f"p{number}", "title": "", "text": text} for number, text in enumerate(texts)]
    queries = [{"_id": f"q{number}", "text": f"number {number} {texts[number][:20]}"} for number in range(QUERIES)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = ["query-id\tcorpus-id\tscore", *(f"q{number}\tp{number}\t1" for number in range(QUERIES))]
    (directory / "qrels.tsv").write_text("\n".join(qrels) + "\n")
    run = []
    for number in range(QUERIES):
        ranked = [(number + 5 * place) % PASSAGES for place in (1, 2, 0, 3, 4, 6)]
        run += [f"q{number} Q0 p{p} {rank} {DEPTH - rank} bm25" for rank, p in enumerate(ranked, 1)]
    (directory / "run.trec").write_text("\n".join(run) + "\n")
    return directory


def data_settings(collection: Path, **changes: Any) -> DataSettings:
    given = {
        "queries": collection / "queries.jsonl",
        "corpus": collection / "corpus.jsonl",
        "qrels": collection / "qrels.tsv",
        "run": collection / "run.trec",
    }
    return DataSettings.model_validate(given | changes)


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("collection") / "tides")


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Path:
    """Shared by tests: those that add files copy it."""
    directory = tmp_path_factory.mktemp("data") / "set"
    make_training_set(data_settings(collection), directory)
    return directory


@pytest.fixture
def run_config(tmp_path: Path, training_set: Path, collection: Path, bert: Path) -> dict[str, Any]:
    """A run of 8 steps in this process, with an evaluation every 4 and a checkpoint every 3."""
    return {
        "data": str(training_set),
        "output": str(tmp_path / "run"),
        "local": True,
        "student": {"model": str(bert), "max_pair_tokens": 64},
        "loss": {"terms": {"ranknet": 1.0}},
        "step": {"queries_per_step": 4, "negatives": 3, "steps": 8, "learning_rate": 1e-3, "warmup_steps": 2},
        "evaluation": {"collection": str(collection), "every_steps": 4},
        "dtype": "float32",
        "checkpoint_every_steps": 3,
    }


@pytest.fixture
def own_set(tmp_path: Path, training_set: Path) -> Path:
    """A copy that a test may add teachers to."""
    return Path(shutil.copytree(training_set, tmp_path / "set"))


@pytest.fixture
def config(tmp_path: Path, run_config: dict[str, Any], own_set: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run_config | {"data": str(own_set)}))
    return path


def refused(shell: Shell, *args: str | Path) -> str:
    """The one line of a command that ends with exit code 2."""
    code, out, err = shell(*args)
    assert (code, out) == (2, ""), err
    lines = err.strip().splitlines()
    assert lines[-1].startswith("reranker: ")
    assert "Traceback" not in err
    return " ".join(lines)
