"""Teachers: what scores candidates, and one line for each file of scores that does not fit."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.training.data.training_set import read_training_set
from cluster.training.teachers.bi_encoder import bi_encoder_scores
from cluster.training.teachers.cross_encoder import cross_encoder_scores, write_candidates
from cluster.training.teachers.scores import read_teacher, teacher_path, write_teacher
from reranker import Reranker
from tests.checkpoints import rewrite_json, write_bert
from tests.cluster.conftest import Shell
from tests.cluster.evaluation.in_process import run_here
from tests.cluster.training.conftest import refused
from tests.cluster.training.test_run import QUIET

DEAR_ON_CPU: Any = {"template": "dear", "device": "cpu", "dtype": "float32"}


def scores(data: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=len(data.groups.passages)).astype(np.float32)


def test_candidates_of_a_cross_encoder_are_the_groups(own_set: Path, tmp_path: Path) -> None:
    data = read_training_set(own_set)
    write_candidates(tmp_path / "candidates.parquet", data)
    table = pq.read_table(tmp_path / "candidates.parquet")
    docids = data.docids.to_pylist()
    assert table["query_id"].to_pylist() == data.query_ids
    assert table["docids"].to_pylist() == [
        [docids[passage] for passage in data.groups.passages[data.groups.candidates_of(query)]] for query in range(8)
    ]


def test_cross_encoder_scores_the_candidates_as_the_api_does(own_set: Path, tmp_path: Path, bert: Path) -> None:
    data = read_training_set(own_set)
    work = own_set / ".teacher-mine"
    options = {"checkpoint": {"model": str(bert), "max_pair_tokens": 64, **DEAR_ON_CPU}}
    found, about = cross_encoder_scores(data, work, options, QUIET, run_job=run_here)
    assert not work.exists()
    assert (about["kind"], about["template"], about["max_pair_tokens"]) == ("cross-encoder", "dear", 64)
    reranker = Reranker(str(bert), max_pair_tokens=64, **DEAR_ON_CPU)
    for number, query in enumerate(data.queries):
        span = data.groups.candidates_of(number)
        passages = [data.passage(position) for position in data.groups.passages[span].tolist()]
        expected = reranker.score(query, [{"title": passage.title, "text": passage.text} for passage in passages])
        np.testing.assert_allclose(found[span], expected, rtol=1e-4, atol=1e-5)


class FakeBiEncoder:
    """Embeds a text as the counts of its letters, as SentenceTransformer.encode_query and encode_document would."""

    def __init__(self) -> None:
        self.documents: list[str] = []

    def encode_query(self, inputs: list[str], **options: Any) -> np.ndarray:
        assert options["normalize_embeddings"]
        assert options["convert_to_numpy"]
        counts = np.array([[text.count(letter) for letter in "abcdefgh"] for text in inputs], dtype=np.float16)
        embeddings: np.ndarray = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return embeddings

    def encode_document(self, inputs: list[str], **options: Any) -> np.ndarray:
        self.documents += inputs
        return self.encode_query(inputs, **options)


def test_bi_encoder_scores_are_the_cosines_of_the_candidates(own_set: Path) -> None:
    data = read_training_set(own_set)
    encoder = FakeBiEncoder()
    found = bi_encoder_scores(data, encoder)
    assert found.dtype == np.float32
    options = {"normalize_embeddings": True, "convert_to_numpy": True}
    queries = encoder.encode_query(data.queries, **options)
    passages = encoder.encode_query(encoder.documents, **options)
    assert encoder.documents == data.corpus["text"].to_pylist()
    for number in range(len(data.queries)):
        span = data.groups.candidates_of(number)
        expected = passages[data.groups.passages[span]] @ queries[number]
        np.testing.assert_allclose(found[span], expected, rtol=1e-2)


def test_bi_encoder_of_sentence_transformers_is_loaded_without_a_network(
    shell: Shell, own_set: Path, tmp_path: Path
) -> None:
    """Where the extra is installed: the real library meets the protocol of the fake."""
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    library = pytest.importorskip("sentence_transformers")
    bert = modules.Transformer(str(write_bert(tmp_path / "bert")), max_seq_length=32)
    library.SentenceTransformer(modules=[bert, modules.Pooling(64)], device="cpu").save(str(tmp_path / "own"))
    code, _, err = shell("train", "teacher", own_set, "--name", "own", "--bi-encoder", tmp_path / "own")
    assert code == 0, err
    found, about = read_teacher(teacher_path(own_set, "own"), read_training_set(own_set))
    assert (about["kind"], about["model"], len(about["checkpoint"])) == ("bi-encoder", "own", 64)
    assert np.isfinite(found).all()
    assert (np.abs(found) <= 1 + 1e-5).all()
    line = refused(shell, "train", "teacher", own_set, "--name", "none", "--bi-encoder", tmp_path / "nowhere")
    assert "nowhere cannot be loaded: " in line


def test_teacher_of_other_texts_is_refused_although_its_ids_are_the_same(
    shell: Shell, own_set: Path, config: Path
) -> None:
    data = read_training_set(own_set)
    write_teacher(teacher_path(own_set, "mine"), data, scores(data), {"kind": "test"})
    assert read_teacher(teacher_path(own_set, "mine"), data)[1]["kind"] == "test"
    rewrite_json(own_set / "data.json", texts_sha256="0" * 64)
    line = refused(shell, "train", "run", config, "--set", "teacher.weights={mine: 1}")
    assert "teacher-mine.parquet: was made for other queries or passages" in line


def test_teachers_that_do_not_fit_are_refused(shell: Shell, own_set: Path, config: Path) -> None:
    data = read_training_set(own_set)
    schema = {"query_id": data.query_ids[:1], "docid": data.docids.to_pylist()[:1]}
    tables = {
        "nan": {**schema, "score": pa.array([np.nan], pa.float32())},
        "other": {"query_id": ["nobody"], "docid": ["nothing"], "score": pa.array([1.0], pa.float32())},
        "few": {**schema, "score": pa.array([1.0], pa.float32())},
        "columns": {"score": pa.array([1.0], pa.float32())},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), teacher_path(own_set, name))
    expected = {
        "nan": "teacher-nan.parquet:1: has a score that is not finite",
        "other": "names other queries or passages than the training set, such as",
        "few": "it was made for another one",
        "columns": "is not a file of query_id, docid, score",
        "nobody": "no such teacher: make it with `reranker train teacher`",
        "a/b": "cannot be the name of a teacher",
    }
    for name, message in expected.items():
        assert message in refused(shell, "train", "run", config, "--set", f"teacher.weights={{{name}: 1}}")


def test_cross_encoder_of_another_template_is_refused_unless_it_is_meant(
    shell: Shell, own_set: Path, config: Path
) -> None:
    data = read_training_set(own_set)
    about = {"kind": "cross-encoder", "model": "theirs", "template": "bare"}
    write_teacher(teacher_path(own_set, "theirs"), data, scores(data), about)
    chosen = ["--set", "teacher.weights={theirs: 1}", "--set", "step.steps=1", "--set", "evaluation={}"]
    line = refused(shell, "train", "run", config, *chosen)
    assert "theirs scored with the template 'bare', and the student reads 'dear'" in line
    assert "teacher.other_templates" in line
    assert not (shell.directory / "run").exists(), "a run that did not begin leaves its output free"
    code, _, err = shell("train", "run", config, *chosen, "--set", "teacher.other_templates=true")
    assert code == 0, err


def test_teacher_without_its_extra_names_it(shell: Shell, own_set: Path) -> None:
    if importlib.util.find_spec("sentence_transformers") is not None:
        pytest.skip("it is installed")
    line = refused(shell, "train", "teacher", own_set, "--name", "x", "--bi-encoder", "y")
    assert line.endswith("pip install 'dear-reranker[bi-encoder]'")
