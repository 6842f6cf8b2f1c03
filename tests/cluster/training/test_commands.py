"""The commands of `reranker train`: what they write, and one line for each wrong input."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cluster.configs import TRAINING
from cluster.training.data.training_set import read_training_set
from cluster.training.demo import run_demo
from cluster.training.settings import read_run_settings
from reranker.importing import import_checkpoint
from reranker.ir.runs import read_run
from reranker.settings import CheckpointSettings
from tests.checkpoints import rewrite_json, write_bert
from tests.cluster.conftest import Shell
from tests.cluster.training.conftest import refused
from tests.cluster.training.test_run import QUIET


def data_args(collection: Path, **changes: Path | str) -> list[str]:
    files: dict[str, Path | str] = {
        "queries": collection / "queries.jsonl",
        "corpus": collection / "corpus.jsonl",
        "qrels": collection / "qrels.tsv",
    }
    return [part for name, value in (files | changes).items() for part in (f"--{name}", str(value))]


# Training sets


def test_data_mines_negatives_by_bm25_and_says_what_it_read(shell: Shell, collection: Path) -> None:
    code, _, err = shell("train", "data", "set", *data_args(collection), "--negatives-depth", "5", "--licence", "MIT")
    assert code == 0, err
    data = read_training_set(shell.directory / "set")
    assert (data.about["queries"], data.about["licence"]) == (8, "MIT")
    assert set(data.about["files"]) == {"queries.jsonl", "corpus.jsonl", "qrels.tsv"}
    assert len(data.about["texts_sha256"]) == 64
    for query in range(8):
        span = data.groups.candidates_of(query)
        assert (data.groups.labels[span] > 0).sum() == 1
        assert 5 <= len(data.groups.passages[span]) <= 10


def test_data_reads_pairs_and_directories_of_them(shell: Shell) -> None:
    rows = [{"query": f"tide {n}", "positive": f"High tide {n} is late.", "negatives": ["Bread."]} for n in range(5)]
    (shell.directory / "pairs").mkdir()
    (shell.directory / "pairs" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = shell("train", "data", "set", "--pairs", "pairs", "--max-per-file", "3")
    assert code == 0, err
    assert read_training_set(shell.directory / "set").queries == ["tide 0", "tide 1", "tide 2"]


def test_data_ranks_a_run_with_equal_scores_as_evaluation_does(
    shell: Shell, collection: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tied.trec"
    path.write_text("".join(f"q0 Q0 p{number} {number} 1 bm25\n" for number in (9, 3, 20, 7)))
    code, _, err = shell("train", "data", "set", *data_args(collection, run=path), "--negatives-depth", "3")
    assert code == 0, err
    data = read_training_set(shell.directory / "set")
    docids = [data.docids[passage].as_py() for passage in data.groups.passages[data.groups.candidates_of(0)]]
    assert docids == ["p0", *read_run(path)["q0"][:3]]
    path.write_text(path.read_text() + "q0 Q0 p9 5 1 bm25\n")
    line = refused(shell, "train", "data", "again", *data_args(collection, run=path))
    assert "tied.trec:5: passage 'p9' occurs twice" in line


def test_data_that_teaches_nothing_is_refused(shell: Shell, collection: Path, tmp_path: Path) -> None:
    (tmp_path / "none.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tp0\t0\n")
    (tmp_path / "unknown.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tnowhere\t1\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"query": "tide", "positive": 7}\n')
    assert "judges no passage relevant" in refused(
        shell, "train", "data", "set", *data_args(collection, qrels=tmp_path / "none.tsv")
    )
    assert "names passage 'nowhere', which" in refused(
        shell, "train", "data", "set", *data_args(collection, qrels=tmp_path / "unknown.tsv")
    )
    assert "give --pairs, or --queries with --corpus and --qrels" in refused(shell, "train", "data", "set")
    assert "without files of pairs" in refused(shell, "train", "data", "set", "--pairs", "empty")
    assert "bad.jsonl:1: `positive` must hold" in refused(shell, "train", "data", "set", "--pairs", "bad.jsonl")
    assert "is not an empty directory" in refused(shell, "train", "data", ".", *data_args(collection))


# Configs


@pytest.mark.parametrize("name", TRAINING)
def test_configs_of_the_package_are_valid_and_are_printed(shell: Shell, name: str) -> None:
    read_run_settings(TRAINING[name])
    code, out, _ = shell("config", "print", f"train-{name}")
    assert (code, out) == (0, TRAINING[name].read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("step.steps=0", "run.yaml: step.steps: Input should be greater than 0, got 0"),
        ("step.stepz=1", "run.yaml: step.stepz: Extra inputs are not permitted"),
        ("workers=2", "local trains in one process: remove workers"),
        ("loss.terms={kl: 1}", "the loss kl needs a teacher: name one under teacher.weights"),
        ("step", "--set: expected NAME=VALUE, such as step.steps=100, got 'step'"),
        ("data.x=1", "--set: data holds no other settings"),
        ("data=nowhere", "has no data.json: make a training set with `reranker train data`"),
        ("student.model=./nowhere", "nowhere"),
        ("student.frozen=[nothing]", "student.frozen: no parameter's name contains nothing"),
    ],
)
def test_wrong_settings_name_the_field(shell: Shell, config: Path, change: str, message: str) -> None:
    assert message in refused(shell, "train", "run", config, "--set", change)


def test_config_that_is_no_yaml_is_refused(shell: Shell) -> None:
    assert "nowhere.yaml: cannot be read" in refused(shell, "train", "run", "nowhere.yaml")
    (shell.directory / "list.yaml").write_text("- 1\n")
    assert "must hold names and values" in refused(shell, "train", "run", "list.yaml")
    (shell.directory / "broken.yaml").write_text("a: [\n")
    assert "is not YAML" in refused(shell, "train", "run", "broken.yaml")


# What becomes of runs


def imported(directory: Path, seed: int, **changes: Any) -> Path:
    source = write_bert(directory.with_name(f"{directory.name}-source"), seed=seed)
    import_checkpoint(
        CheckpointSettings.model_validate(
            {"model": str(source), "template": "dear", "max_pair_tokens": 64} | changes
        ),
        directory,
    )
    return directory


def test_average_is_the_mean_of_the_weights_and_refuses_other_shapes(shell: Shell, tmp_path: Path) -> None:
    models = [imported(tmp_path / f"run{seed}", seed) for seed in (0, 1)]
    tokenizer = (models[0] / "tokenizer.json").read_text()
    (models[1] / "tokenizer.json").write_text(f"{tokenizer} ")
    assert "has another tokenizer" in refused(shell, "train", "average", "mean", *models)
    shutil.copy(models[0] / "tokenizer.json", models[1])
    code, _, err = shell("train", "average", "mean", *models)
    assert code == 0, err
    first, second, mean = (load_file(path / "model.safetensors") for path in (*models, tmp_path / "mean"))
    for name, value in mean.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    assert (tmp_path / "mean" / "reranker.json").is_file()
    assert "is not an empty directory" in refused(shell, "train", "average", "mean", *models)
    assert "takes two checkpoints or more" in refused(shell, "train", "average", "one", models[0])
    bare = imported(tmp_path / "bare", 2, template="bare")
    assert "has template bare, and" in refused(shell, "train", "average", "other", models[0], bare)
    weights = load_file(models[1] / "model.safetensors")
    weights["classifier.weight"] = torch.zeros(2, 64)
    save_file(weights, models[1] / "model.safetensors", metadata={"format": "pt"})
    assert "classifier.weight of shape [2, 64]" in refused(shell, "train", "average", "other", *models)
    rewrite_json(models[1] / "config.json", num_hidden_layers=2)
    assert "has num_hidden_layers 2 in its config" in refused(shell, "train", "average", "other", *models)
    assert not (tmp_path / "other").exists()


def test_demo_trains_and_measures_on_queries_it_held_back(tmp_path: Path, bert: Path) -> None:
    result = run_demo(QUIET, tmp_path / "demo", model=str(bert), steps=2)
    assert (result.model / "reranker.json").is_file()
    assert "Apache-2.0" in (result.model / "README.md").read_text()
    for value in (result.first_stage, result.before, result.after):
        assert 0 < value <= 1
