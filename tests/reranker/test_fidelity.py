"""Golden scores: written by Hugging Face's forward, replayed by our engine, and any mismatch refused."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import reranker
from reranker.checkpoints.golden import GOLDEN_TEXTS
from reranker.checkpoints.manifest import Manifest, read_manifest, write_manifest
from reranker.errors import CheckpointError, FidelityError
from reranker.fidelity import load_verified
from reranker.importing import import_checkpoint
from reranker.prompt import DEAR
from reranker.recipe import Recipe
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import rewrite_json, write_llama


@pytest.fixture(scope="session")
def import_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Imports a checkpoint once per session."""

    @functools.cache
    def imported(model: Path) -> Path:
        output = tmp_path_factory.mktemp("imports") / "imported"
        import_checkpoint(CheckpointSettings(model=str(model), template="dear", max_pair_tokens=100), output)
        return output

    return imported


@pytest.fixture
def imported(import_of: Callable[[Path], Path], family: Path, tmp_path: Path) -> Path:
    """An imported checkpoint that the test may change."""
    return Path(shutil.copytree(import_of(family), tmp_path / "imported"))


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
    assert (manifest.recipe.template, manifest.max_pair_tokens, len(manifest.golden)) == (
        DEAR,
        100,
        len(GOLDEN_TEXTS),
    )
    assert fidelity(imported, dtype=dtype).startswith(f"verified: {len(GOLDEN_TEXTS)} golden scores")


def test_imported_adapter_is_verified(lora: Path, tmp_path: Path) -> None:
    import_checkpoint(CheckpointSettings(model=str(lora)), tmp_path / "imported")
    assert fidelity(tmp_path / "imported").startswith("verified")


@pytest.fixture
def other_pad(tmp_path: Path) -> Path:
    """A Llama whose tokenizer pads with another id than its config's."""
    return write_llama(tmp_path / "other-pad", pad_is_eos=True, config_pad=0)


def test_import_scores_dear_as_padded_and_the_replay_does_too(other_pad: Path, tmp_path: Path) -> None:
    settings = CheckpointSettings(model=str(other_pad), template="dear", max_pair_tokens=100)
    assert import_checkpoint(settings, tmp_path / "imported").manifest.recipe.pooling == "padded"
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
    write_manifest(imported, Manifest(recipe=Recipe(name="dear", template=DEAR, max_pair_tokens=100)))
    assert fidelity(imported).startswith("unverified")


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


class ChangedEmbedded:
    """The embedded model with changed weights."""

    def __init__(self, directory: Path) -> None:
        shutil.copytree(Path(reranker.__file__).parent / "embedded", directory)
        self._directory = directory

    def problem(self, change: Callable[[str, torch.Tensor], torch.Tensor], dtype: str) -> str | None:
        path = self._directory / "model.safetensors"
        weights = {name: change(name, tensor.float()).to(tensor.dtype) for name, tensor in load_file(path).items()}
        path.unlink()  # the engine may still have the old file mapped
        save_file(weights, path, {"format": "pt"})
        try:
            fidelity(self._directory, dtype=dtype, device="cpu")
        except FidelityError as error:
            return str(error)
        return None


def scaled_head(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor * 1.01 if name.startswith("classifier") else tensor


def moved_head(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor + 0.05 if name == "classifier.bias" else tensor


def int8(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Rounded to 8 bits, with one scale per row."""
    if tensor.dim() != 2:
        return tensor
    scale = tensor.abs().amax(1, keepdim=True).clamp_min(1e-9) / 127
    return (tensor / scale).round() * scale


def unchanged(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (scaled_head, "off by a factor of 1.0"),
        (moved_head, "off on average"),
        (int8, "rms"),
        (unchanged, None),
    ],
)
def test_small_changes_of_the_embedded_models_weights_are_refused_in_half_precision(
    change: Callable[[str, torch.Tensor], torch.Tensor], problem: str | None, tmp_path: Path
) -> None:
    """Each is within the bound of a single pair."""
    told = ChangedEmbedded(tmp_path / "changed").problem(change, "bfloat16")
    assert (told is None) if problem is None else (problem in str(told))


@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu_new"])
def test_another_activation_within_rounding_is_seen_in_the_config(activation: str, tmp_path: Path) -> None:
    shutil.copytree(Path(reranker.__file__).parent / "embedded", tmp_path / "changed")
    rewrite_json(tmp_path / "changed" / "config.json", hidden_act=activation)
    with pytest.raises(FidelityError, match="hidden_act"):
        fidelity(tmp_path / "changed", dtype="bfloat16")


def test_description_says_which_errors_half_precision_hides(imported: Path) -> None:
    settings = CheckpointSettings(model=str(imported), dtype="bfloat16")
    hidden = load_verified(settings, EngineSettings()).description.undetectable
    assert hidden.startswith("in bfloat16 rounding hides a constant error below 0.")


@pytest.mark.parametrize(("forward", "named"), [("auto", "fast"), ("huggingface", "huggingface")])
def test_description_names_the_forward_and_only_the_fast_one_shares_prefixes(
    llama: Path, forward: str, named: str
) -> None:
    checkpoint = CheckpointSettings(model=str(llama), template="dear", max_pair_tokens=100)
    loaded = load_verified(checkpoint, EngineSettings.model_validate({"forward": forward}))
    assert loaded.description.forward == named
    assert loaded.engine.shares_prefixes == (named == "fast")
