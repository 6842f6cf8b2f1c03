"""Golden scores: written by Hugging Face's forward, replayed by our engine, and any mismatch refused."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from reranker.checkpoints.golden import GOLDEN_TEXTS
from reranker.checkpoints.manifest import Manifest, read_manifest, write_manifest
from reranker.errors import CheckpointError, FidelityError
from reranker.fidelity import VerifiedEngine, load_verified
from reranker.importing import import_checkpoint
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
    manifest = import_checkpoint(CheckpointSettings(model=str(model)), tmp_path / "imported").manifest
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
    assert import_checkpoint(settings, tmp_path / "imported").manifest.pooling == "padded"
    assert fidelity(tmp_path / "imported").startswith("verified")
    assert fidelity(tmp_path / "imported", pooling="last").startswith("unverified: the golden scores are for")


def test_pooling_is_last_with_one_warning_where_padded_batches_of_hugging_face_differ(
    other_pad: Path, llama: Path, bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for model, differs in ((other_pad, True), (llama, False), (bert, False)):
        caplog.clear()
        loaded = load_verified(CheckpointSettings(model=str(model), template="bare"), EngineSettings())
        assert loaded.description.pooling == "last"
        assert any(warning.startswith("pooling last") for warning in loaded.description.warnings) == differs
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


class Refusing:
    """Loads as production does, but for one forward and dtype gives other scores than Hugging Face."""

    def __init__(self, dtype: str, *forwards: str) -> None:
        self._dtype, self._forwards = dtype, forwards

    def __call__(self, checkpoint: CheckpointSettings, engine: EngineSettings) -> VerifiedEngine:
        if checkpoint.dtype == self._dtype and engine.forward in self._forwards:
            raise FidelityError("golden pair 3 scores 1 where Hugging Face gave 2", "what to do in production")
        return load_verified(checkpoint, engine)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("forwards", "advice"),
    [(["auto"], "import it with --forward huggingface"), (["auto", "huggingface"], "cannot be served")],
)
def test_import_refuses_what_our_engine_does_not_reproduce_and_leaves_nothing(
    dtype: str, forwards: list[str], advice: str, family: Path, tmp_path: Path
) -> None:
    settings = CheckpointSettings(model=str(family))
    with pytest.raises(FidelityError, match=f"was not imported: in {dtype}, golden pair 3 .*{advice}") as refused:
        import_checkpoint(settings, tmp_path / "out" / "imported", load=Refusing(dtype, *forwards))
    assert "what to do in production" not in str(refused.value)
    assert not list((tmp_path / "out").iterdir())


def test_import_records_the_forward_that_was_checked(family: Path, tmp_path: Path) -> None:
    engine = EngineSettings(forward="huggingface")
    import_checkpoint(
        CheckpointSettings(model=str(family)), tmp_path / "out", engine, load=Refusing("float32", "auto")
    )
    loaded = load_verified(CheckpointSettings(model=str(tmp_path / "out")), EngineSettings())
    assert loaded.engine.pads  # Hugging Face's forward does, the fast ones do not
    assert loaded.description.fidelity.startswith("verified")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("key", "value"), [("hidden_act", "relu"), ("layer_norm_eps", 1e-3), ("pad_token_id", 7), ("is_causal", False)]
)
def test_config_that_is_not_the_imported_one_is_refused(imported: Path, dtype: str, key: str, value: object) -> None:
    rewrite_json(imported / "config.json", **{key: value})
    with pytest.raises(FidelityError, match=rf"config\.json has {key} .* restore it"):
        fidelity(imported, dtype=dtype)


def test_config_keys_that_no_score_depends_on_may_change(imported: Path) -> None:
    rewrite_json(imported / "config.json", transformers_version="9", architectures=["Other"], _name_or_path="x")
    assert fidelity(imported).startswith("verified")


def test_import_says_what_would_not_be_seen_and_so_does_health(family: Path, tmp_path: Path) -> None:
    checks = import_checkpoint(CheckpointSettings(model=str(family)), tmp_path / "out").checks
    assert [check.dtype for check in checks] == ["float32", "bfloat16"]
    assert checks[0].undetectable == "errors below 0.0001 logits"
    assert checks[1].undetectable.startswith("in bfloat16 rounding hides a constant error below 0.")
