"""A head that sentence-transformers keeps in modules beside an encoder, as the Ettin rerankers have it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer, ModernBertConfig, ModernBertModel

from reranker import Reranker
from reranker.checkpoints.files import locate
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.errors import CheckpointError
from reranker.fidelity import load_verified
from reranker.importing import import_checkpoint
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import SAMPLE_TEXTS, rewrite_json, write_bert

WIDTH = 32
DENSE = {
    "in_features": WIDTH,
    "out_features": WIDTH,
    "bias": False,
    "activation_function": "torch.nn.modules.activation.GELU",
}
LAST = {
    "in_features": WIDTH,
    "out_features": 1,
    "bias": True,
    "activation_function": "torch.nn.modules.linear.Identity",
}
MODULES: list[tuple[str, str, dict[str, Any]]] = [
    ("", "base.modules.transformer.Transformer", {}),
    (
        "1_Pooling",
        "sentence_transformer.modules.pooling.Pooling",
        {"embedding_dimension": WIDTH, "pooling_mode": "cls"},
    ),
    ("2_Dense", "base.modules.dense.Dense", DENSE),
    ("3_LayerNorm", "sentence_transformer.modules.layer_norm.LayerNorm", {"dimension": WIDTH}),
    ("4_Dense", "base.modules.dense.Dense", LAST),
]


def write_ettin(directory: Path, **pooling: Any) -> Path:
    torch.manual_seed(3)
    write_bert(directory)  # for its tokenizer
    for name in ("model.safetensors", "config.json"):
        (directory / name).unlink()
    config = ModernBertConfig(
        vocab_size=400, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
        local_attention=8, max_position_embeddings=512, initializer_range=0.3, initializer_cutoff_factor=3.0,
        cls_token_id=2, sep_token_id=3, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    ModernBertModel(config).save_pretrained(directory)
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.{kind}"}
        for n, (path, kind, _) in enumerate(MODULES)
    ]
    (directory / "modules.json").write_text(json.dumps(listed))
    for path, kind, settings in MODULES[1:]:
        (directory / path).mkdir()
        (directory / path / "config.json").write_text(json.dumps(settings | (pooling if "Pooling" in kind else {})))
    dense, norm, last = nn.Linear(WIDTH, WIDTH, bias=False), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 1)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(last.weight, std=1.0)
    for path, name, module in (
        ("2_Dense", "linear", dense),
        ("3_LayerNorm", "norm", norm),
        ("4_Dense", "linear", last),
    ):
        tensors = {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
        save_file(tensors, directory / path / "model.safetensors")
    return directory


@pytest.fixture(scope="module")
def ettin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ettin(tmp_path_factory.mktemp("ettin") / "ettin")


@torch.no_grad()
def authors_scores(directory: Path, pooling: str) -> list[float]:
    """Written out once more, to be independent of the reference."""
    body, tokenizer = AutoModel.from_pretrained(directory).float(), AutoTokenizer.from_pretrained(directory)
    tensors = {
        path: load_file(directory / path / "model.safetensors") for path in ("2_Dense", "3_LayerNorm", "4_Dense")
    }
    scores = []
    for text in SAMPLE_TEXTS:
        inputs = tokenizer("when is high tide", text, return_tensors="pt")
        hidden = body(inputs.input_ids).last_hidden_state[0]
        x = hidden[0] if pooling == "cls" else hidden.mean(0)
        x = nn.functional.gelu(tensors["2_Dense"]["linear.weight"] @ x)
        norm = tensors["3_LayerNorm"]
        x = nn.functional.layer_norm(x, (WIDTH,), norm["norm.weight"], norm["norm.bias"])
        scores.append((tensors["4_Dense"]["linear.weight"] @ x + tensors["4_Dense"]["linear.bias"]).item())
    return scores


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_head_beside_a_modernbert_is_imported_and_served_exactly(pooling: str, tmp_path: Path) -> None:
    model = write_ettin(tmp_path / "model", pooling_mode=pooling)
    written = import_checkpoint(CheckpointSettings(model=str(model)), tmp_path / "imported")
    for check in written.checks:
        assert check.fidelity.startswith("verified")
        assert not any("no fast forward" in warning for warning in check.warnings)
    served = Reranker(str(tmp_path / "imported"), dtype="float32")
    np.testing.assert_allclose(
        served.score("when is high tide", SAMPLE_TEXTS), authors_scores(model, pooling), atol=1e-4
    )


def test_pooling_may_be_named_as_older_versions_do(ettin: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(ettin, tmp_path / "old"))
    old = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    (model / "1_Pooling" / "config.json").write_text(json.dumps(old))
    scores = Reranker(str(model), template="bare", dtype="float32").score("when is high tide", SAMPLE_TEXTS)
    np.testing.assert_allclose(scores, authors_scores(model, "mean"), atol=1e-4)


def test_hugging_faces_forward_gives_the_same_scores(ettin: Path) -> None:
    settings = EngineSettings(forward="huggingface")
    slow = Reranker(str(ettin), dtype="float32", engine=settings).score("when is high tide", SAMPLE_TEXTS)
    np.testing.assert_allclose(slow, authors_scores(ettin, "cls"), atol=1e-4)


def test_fingerprint_covers_the_head(ettin: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(ettin, tmp_path / "other"))
    weights = load_file(other / "4_Dense" / "model.safetensors")
    save_file({name: tensor + 1e-3 for name, tensor in weights.items()}, other / "4_Dense" / "model.safetensors")
    before, after = (
        checkpoint_sha256(locate(CheckpointSettings(model=str(path)), weights=True)) for path in (ettin, other)
    )
    assert before != after


@pytest.mark.parametrize(
    ("path", "changes", "problem"),
    [
        ("1_Pooling", {"pooling_mode": "max"}, "pools by 'max'"),
        ("2_Dense", {"use_residual": True}, "a module that is not known here: Dense in 2_Dense"),
        ("2_Dense", {"activation_function": "mine.Swish"}, "activation 'mine.Swish' in 2_Dense is not known"),
        ("4_Dense", {"out_features": 7}, "gives embeddings, and no score"),
        ("2_Dense", {"bias": True}, "lacks weights its config requires"),
    ],
)
def test_head_that_is_not_known_is_refused(
    path: str, changes: dict[str, Any], problem: str, ettin: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(ettin, tmp_path / "model"))
    rewrite_json(model / path / "config.json", **changes)
    with pytest.raises(CheckpointError) as refused:
        load_verified(CheckpointSettings(model=str(model)), EngineSettings())
    assert problem in str(refused.value) or "does not match its config" in str(refused.value)


def test_missing_file_and_other_bodies_are_refused(ettin: Path, bert: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(ettin, tmp_path / "model"))
    (model / "4_Dense" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"4_Dense/model\.safetensors is not there"):
        load_verified(CheckpointSettings(model=str(model)), EngineSettings())
    other = Path(shutil.copytree(ettin, tmp_path / "other"))
    shutil.copy(bert / "config.json", other)
    with pytest.raises(CheckpointError, match="behind a bert: that is known for modernbert only"):
        load_verified(CheckpointSettings(model=str(other)), EngineSettings())
