"""Batch jobs with broken checkpoints: one with NaN logits, and one whose forward pass kills its process."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import reranker
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import locate
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_corpus, read_queries
from reranker.pairs import EncodedPairs
from reranker.settings import CheckpointSettings
from tests.checkpoints import write_bert
from tests.cluster.batch import deadly
from tests.cluster.batch.jobs import SAMPLE, Job, inputs_in, wait_until

pytestmark = pytest.mark.slow

DEPTH = 4
ON_CPU = {"encoders": 1, "engine": {"threads": 1}}
Pair = tuple[str, str]


def encoded_sample() -> dict[Pair, np.ndarray]:
    """(query_id, docid) -> token ids of the pair, for the first DEPTH candidates of each query of the sample."""
    queries, passages = read_queries(SAMPLE / "queries.jsonl"), dict(iter_corpus(SAMPLE / "corpus.jsonl"))
    encoder = load_encoder(CheckpointSettings())
    encoded: dict[Pair, np.ndarray] = {}
    for query_id, docids in read_run(SAMPLE / "run.trec", "file").items():
        pairs: EncodedPairs = encoder.encode(queries[query_id], [passages[docid] for docid in docids[:DEPTH]])
        encoded |= {(query_id, docid): pairs.pair_ids(number) for number, docid in enumerate(docids[:DEPTH])}
    return encoded


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Pair]]:
    """The embedded checkpoint with one NaN embedding, and the pairs with its token, which no golden pair has."""
    encoded = encoded_sample()
    manifest = locate(CheckpointSettings(), weights=False).manifest
    golden = {token for pair in manifest.golden for token in pair.input_ids} if manifest else set()
    counted = Counter(token for ids in encoded.values() for token in set(ids.tolist()) - golden)
    broken_token = min(token for token, pairs in counted.items() if pairs == 3)

    source = Path(reranker.__file__).parent / "embedded"
    directory = Path(shutil.copytree(source, tmp_path_factory.mktemp("broken") / "broken"))
    weights = load_file(directory / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][broken_token] = torch.nan
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory, {pair for pair, ids in encoded.items() if broken_token in ids}


def test_passages_with_nan_logits_fail_the_job_or_are_skipped_within_max_bad_rows(
    broken: tuple[Path, set[Pair]], scratch: Path, tmp_path: Path
) -> None:
    model, unscored = broken
    more: dict[str, Any] = {"depth": DEPTH, "unit_pairs": 12, "checkpoint": {"model": str(model), "device": "cpu"}}
    job = Job(scratch, tmp_path / "out", **inputs_in(SAMPLE), **ON_CPU, **more)

    process = job.start()
    problem = "its logit is nan: check the model's weights and dtype"
    messages = {
        f"TooManyBadRows: query {query_id!r}, passage {docid!r}: {problem} (1 bad so far, --max-bad-rows allows 0)"
        for query_id, docid in unscored
    }
    assert job.last_line(process) in messages
    assert process.returncode == 1

    report = job.run(max_bad_rows=len(unscored))
    letters = [json.loads(line) for line in job.files["bad_rows.jsonl"].splitlines()]
    assert {(letter["query_id"], letter["docid"]) for letter in letters} == unscored
    assert [letter["reason"] for letter in letters] == [problem] * len(unscored)
    ranked = read_run(job.output / "run.trec")
    assert {(query_id, docid) for query_id, docids in ranked.items() for docid in docids} == {
        *encoded_sample()
    } - unscored
    assert report["bad_rows"] == report["pairs"] - report["rows"] == len(unscored) == 3


def write_deadly(directory: Path, word: str) -> Path:
    """Write a checkpoint with custom code that kills the process when it scores a passage with this word."""
    write_bert(directory)
    config = {
        "model_type": "deadly",
        "architectures": ["DeadlyModel"],
        "auto_map": {"AutoConfig": "deadly.DeadlyConfig", "AutoModelForSequenceClassification": "deadly.DeadlyModel"},
        "num_labels": 1,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "dtype": "float32",
        "fatal_id": json.loads((directory / "tokenizer.json").read_bytes())["model"]["vocab"][word],
    }
    (directory / "config.json").write_text(json.dumps(config))
    save_file({"bias": torch.zeros(1)}, directory / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(deadly.__file__, directory / "deadly.py")
    return directory


def test_passage_that_crashes_every_scorer_ends_the_job(scratch: Path, tmp_path: Path) -> None:
    texts = [f"The tide table lists high water {number}." for number in range(6)]
    texts[3] = "Bread rises because yeast turns sugar into carbon dioxide."
    rows = [
        {"query_id": f"q{number}", "query": "when is high tide", "docid": f"d{number}", "text": text}
        for number, text in enumerate(texts)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model = write_deadly(tmp_path / "model", "yeast")
    checkpoint = {"model": str(model), "trust_remote_code": True, "device": "cpu"}
    pairs = str(tmp_path / "pairs.jsonl")
    job = Job(scratch, tmp_path / "out", pairs=pairs, unit_pairs=1, checkpoint=checkpoint, **ON_CPU)

    process = job.start(env={"HF_MODULES_CACHE": str(tmp_path / "modules")})
    scorers: set[int] = set()
    wait_until(lambda: scorers.update(worker.pid for worker in job.workers("ScoreStage")), process, pause_s=0.2)
    assert job.last_line(process).startswith("Unavailable: Ray gave up on the job (Actor")
    assert job.last_line(process).endswith("Finished units are kept: continue with --resume")
    assert 2 <= len(scorers) <= 10, "the scorer is restarted, but not forever"
    assert sorted(job.parts)[:3] == [f"part-{unit:06d}.parquet" for unit in range(3)]
    assert "part-000003.parquet" not in job.parts
