"""Golden scores: written by Hugging Face's forward, replayed by our engine, and any mismatch refused."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from reranker.checkpoints.importing import GOLDEN_TEXTS, import_checkpoint
from reranker.checkpoints.manifest import Manifest, read_manifest, write_manifest
from reranker.errors import CheckpointError, FidelityError
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import rewrite_json, write_bert, write_llama


@pytest.fixture
def imported(family: Path, tmp_path: Path) -> Path:
    settings = CheckpointSettings(model=str(family), template="dear", max_pair_tokens=100)
    import_checkpoint(settings, tmp_path / "imported")
    return tmp_path / "imported"


def fidelity(model: Path | str, **settings: object) -> str:
    checkpoint = CheckpointSettings.model_validate({"model": str(model), **settings})
    return load_verified(checkpoint, EngineSettings()).description.fidelity


def scale_head(directory: Path, factor: float) -> None:
    weights = load_file(directory / "model.safetensors")
    for name in ("score.weight", "classifier.weight"):
        if name in weights:
            weights[name] *= factor
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_imported_checkpoint_is_verified(imported: Path, dtype: str) -> None:
    manifest = read_manifest(imported)
    assert manifest is not None
    assert (manifest.template, manifest.max_pair_tokens, len(manifest.golden)) == ("dear", 100, len(GOLDEN_TEXTS))
    assert fidelity(imported, dtype=dtype).startswith(f"verified: {len(GOLDEN_TEXTS)} golden scores")


def test_imported_adapter_is_verified(lora: Path, tmp_path: Path) -> None:
    import_checkpoint(CheckpointSettings(model=str(lora)), tmp_path / "imported")
    assert fidelity(tmp_path / "imported").startswith("verified")


@pytest.mark.parametrize("token_types", [True, False])
def test_import_records_whether_token_types_are_sent(token_types: bool, tmp_path: Path) -> None:
    """The record holds even if another tokenizer version would decide otherwise."""
    model = write_bert(tmp_path / "bert", token_types=token_types)
    manifest = import_checkpoint(CheckpointSettings(model=str(model)), tmp_path / "imported")
    assert manifest.token_types is token_types
    names = ["input_ids", "attention_mask"] if token_types else ["input_ids", "token_type_ids", "attention_mask"]
    rewrite_json(tmp_path / "imported" / "tokenizer_config.json", model_input_names=names)
    assert fidelity(tmp_path / "imported").startswith("verified")


@pytest.fixture
def other_pad(tmp_path: Path) -> Path:
    """A Llama whose tokenizer pads with another id than its config's."""
    return write_llama(tmp_path / "other-pad", pad_is_eos=True, config_pad=0)


def test_import_scores_dear_as_padded_and_the_replay_does_too(other_pad: Path, tmp_path: Path) -> None:
    settings = CheckpointSettings(model=str(other_pad), template="dear", max_pair_tokens=100)
    assert import_checkpoint(settings, tmp_path / "imported").pooling == "padded"
    assert fidelity(tmp_path / "imported").startswith("verified")
    assert fidelity(tmp_path / "imported", pooling="last").startswith("unverified: the golden scores are for")


def test_pooling_is_last_with_one_warning_where_padded_batches_of_hugging_face_differ(
    other_pad: Path, llama: Path, bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for model, differs in ((other_pad, True), (llama, False), (bert, False)):
        caplog.clear()
        loaded = load_verified(CheckpointSettings(model=str(model), template="bare"), EngineSettings())
        assert loaded.description.pooling.startswith("last: logits are read") == differs
        assert loaded.encoder.pad is None
        assert len([r for r in caplog.records if "pooling last" in r.getMessage()]) == differs


def test_padded_pooling_without_a_pad_token_is_refused(llama: Path) -> None:
    with pytest.raises(CheckpointError, match="its tokenizer has no pad token"):
        load_verified(CheckpointSettings(model=str(llama), pooling="padded"), EngineSettings())


def test_embedded_model_is_verified() -> None:
    assert fidelity("embedded").startswith("verified")
    assert fidelity("embedded", dtype="float32").startswith("verified")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_checkpoint_with_changed_weights_is_refused(imported: Path, dtype: str) -> None:
    scale_head(imported, 1.3)
    with pytest.raises(FidelityError, match=r"golden pair \d+ scores .* where Hugging Face gave"):
        fidelity(imported, dtype=dtype)


def test_checkpoint_with_nan_logits_is_refused(imported: Path) -> None:
    scale_head(imported, float("nan"))
    with pytest.raises(FidelityError, match="scores nan"):
        fidelity(imported)


def test_checkpoint_with_a_changed_tokenizer_is_refused(imported: Path) -> None:
    path = imported / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)[10:]  # special tokens keep their ids
    vocabulary |= {word: vocabulary[other] for word, other in zip(words, reversed(words), strict=True)}
    path.write_text(json.dumps(content))
    with pytest.raises(FidelityError, match="golden pair 0 has other token ids"):
        fidelity(imported)


def test_checkpoint_without_applicable_golden_scores_is_unverified(imported: Path, family: Path) -> None:
    assert fidelity(family) == "unverified: the checkpoint has no golden scores"
    assert fidelity(imported, template="bare").startswith("unverified: the golden scores are for template dear")
    assert fidelity(imported, max_pair_tokens=60).startswith("unverified")
    write_manifest(imported, Manifest(template="dear", max_pair_tokens=100))
    assert fidelity(imported).startswith("unverified")


def test_import_refuses_a_non_empty_output_directory(imported: Path, family: Path) -> None:
    with pytest.raises(CheckpointError, match="is not an empty directory"):
        import_checkpoint(CheckpointSettings(model=str(family)), imported)


def test_import_refuses_a_checkpoint_with_nan_logits(imported: Path, tmp_path: Path) -> None:
    scale_head(imported, float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        import_checkpoint(CheckpointSettings(model=str(imported)), tmp_path / "again")
    assert not (tmp_path / "again").exists()
