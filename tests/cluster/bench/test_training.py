"""The training benchmark with real processes on a tiny random checkpoint, and its arithmetic."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, BertConfig

from cluster.bench.engine.contender import GEMM
from cluster.bench.engine.rounds import Measured
from cluster.bench.training.contenders import PACKED, PEERS
from cluster.bench.training.figures import StepFacts, figures
from reranker.checkpoints.files import load_tokenizer, locate
from reranker.settings import CheckpointSettings


@pytest.mark.slow
def test_packed_and_padded_contenders_train_alike_and_a_missing_peer_is_named(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "tiny")
    load_tokenizer(locate(CheckpointSettings(), weights=False)).save_pretrained(tmp_path / "tiny")
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("reranker")), "bench", "train", "--model", str(tmp_path / "tiny")),
            *("--queries", "2", "--candidates", "3", "--batch-pairs", "2", "--rounds", "2", "--threads", "1"),
            *("--dtype", "float32", "--json", "-"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "RERANKER_PEERS"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    ours, padded = result["contenders"]
    assert [ours["name"], padded["name"]] == ["reranker", "padded"]
    assert padded["losses"] == pytest.approx(ours["losses"], rel=1e-3)
    for row in (ours, padded):
        assert row["tokens_per_s"] > 0
        assert row["roofline_share"] > 0
        assert row["peak_memory_bytes"] > 50e6
    (skipped,) = result["skipped"]
    assert skipped["name"] == "crossencoder-trainer"
    assert "pip install" in skipped["install"]
    assert result["failed"] == []


def measured(name: str, seconds: list[float], **more: object) -> Measured:
    answers = [{"seconds": second, "cpu_s": 2 * second, "loss": 0.5, **more} for second in seconds]
    return Measured(name, answers=answers, peak_memory_bytes=1)


def test_figures_are_ratios_of_medians_and_the_share_counts_no_padding() -> None:
    found = figures(
        [
            measured(PACKED.name, [1.0, 2.0, 9.0]),
            measured(GEMM.name, [1.0, 1.0, 1.0], flops_per_s=1000.0),
            measured("padded", [4.0, 3.0, 5.0]),
            measured("crossencoder-trainer", [50.0, 50.0, 50.0], step_s=6.0),
        ],
        [],
        [StepFacts(100, 500), StepFacts(100, 500), StepFacts(100, 500)],
    )
    ours, padded, peer = found["contenders"]
    assert (ours["tokens_per_s"], ours["roofline_share"], ours["ratio"]) == (50.0, 0.25, 1.0)
    assert (padded["ratio"], padded["cpu_ratio"]) == (2.0, 2.0)
    assert peer["ratio"] == 3.0  # its own clock, without what `train()` sets up
    assert found["ratios"] == {"padded": 2.0, "crossencoder-trainer": 3.0}
    assert found["roofline"] == {"gemm_flops_per_s": 1000.0, "tokens_per_s": 200.0}


def test_a_contender_that_died_has_no_row_and_takes_no_ratio_with_it() -> None:
    dead = Measured(PACKED.name, died="no memory")
    found = figures([dead, measured("padded", [1.0])], [PEERS["crossencoder-trainer"]], [StepFacts(10, 10)])
    (row,) = found["contenders"]
    assert (row["name"], row["ratio"], row["roofline_share"]) == ("padded", None, None)
    assert found["failed"] == [{"name": "reranker", "stderr": "no memory"}]
    assert found["roofline"] is None
