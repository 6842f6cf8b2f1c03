"""Importing: everything that is served later is checked now, and a checkpoint that fails leaves nothing behind."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from reranker.checkpoints.files import locate
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.errors import CheckpointError, FidelityError
from reranker.fidelity import VerifiedEngine, load_verified
from reranker.importing import import_checkpoint
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import rewrite_json, write_bert, write_llama


@pytest.fixture
def copy(family: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may change."""
    return Path(shutil.copytree(family, tmp_path / "copy"))


def imported(model: Path, output: Path, **settings: object) -> None:
    given = {"model": str(model), "max_pair_tokens": 60, **settings}
    import_checkpoint(CheckpointSettings.model_validate(given), output)


@pytest.mark.parametrize("token_types", [True, False])
def test_import_records_whether_token_types_are_sent(token_types: bool, tmp_path: Path) -> None:
    """The record holds even if another tokenizer version would decide otherwise."""
    model = write_bert(tmp_path / "bert", token_types=token_types)
    manifest = import_checkpoint(CheckpointSettings(model=str(model)), tmp_path / "imported").manifest
    assert manifest.token_types is token_types
    names = ["input_ids", "attention_mask"] if token_types else ["input_ids", "token_type_ids", "attention_mask"]
    rewrite_json(tmp_path / "imported" / "tokenizer_config.json", model_input_names=names)
    loaded = load_verified(CheckpointSettings(model=str(tmp_path / "imported")), EngineSettings())
    assert loaded.description.fidelity.startswith("verified")


def test_import_refuses_a_non_empty_output_directory(family: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match="is not an empty directory"):
        imported(family, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_import_refuses_a_checkpoint_with_nan_logits(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    for name in ("score.weight", "classifier.weight"):
        if name in weights:
            weights[name] *= torch.nan
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="not finite"):
        imported(copy, tmp_path / "again")
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


def test_import_says_what_would_not_be_seen_and_so_does_health(family: Path, tmp_path: Path) -> None:
    checks = import_checkpoint(CheckpointSettings(model=str(family)), tmp_path / "out").checks
    assert [check.dtype for check in checks] == ["float32", "bfloat16"]
    assert checks[0].undetectable == "errors below 0.0001 logits"
    assert checks[1].undetectable.startswith("in bfloat16 rounding hides a constant error below 0.")


def test_weights_that_are_not_read_are_not_copied(copy: Path, tmp_path: Path) -> None:
    read = sorted(path.name for path in copy.iterdir())
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "model.safetensors.index.json", "optimizer.pt"):
        (copy / name).write_text("not read")
    (copy / "README.md").write_text("A license may be here.")
    imported(copy, tmp_path / "imported")
    assert sorted(path.name for path in (tmp_path / "imported").iterdir()) == sorted(
        [*read, "README.md", "reranker.json"]
    )


def test_shards_are_copied_with_their_index(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    (copy / "parts").mkdir()
    save_file(weights, copy / "parts" / "all.safetensors", {"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "parts/all.safetensors")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    imported(copy, tmp_path / "imported")
    (tmp_path / "imported" / "reranker.json").unlink()
    one, other = (
        checkpoint_sha256(locate(CheckpointSettings(model=str(path)), weights=True))
        for path in (copy, tmp_path / "imported")
    )
    assert one == other is not None


CUSTOM_CODE = """
from transformers import BertConfig, BertForSequenceClassification
class MineConfig(BertConfig):
    model_type = "mine"
class Mine(BertForSequenceClassification):
    config_class = MineConfig
"""


@pytest.fixture
def custom(bert: Path, tmp_path: Path) -> Path:
    """A checkpoint whose architecture comes as Python code."""
    directory = Path(shutil.copytree(bert, tmp_path / "custom"))
    auto_map = {"AutoConfig": "mine.MineConfig", "AutoModelForSequenceClassification": "mine.Mine"}
    rewrite_json(directory / "config.json", model_type="mine", auto_map=auto_map)
    (directory / "mine.py").write_text(CUSTOM_CODE)
    return directory


def test_custom_code_is_refused_unless_it_is_trusted(
    custom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(
        CheckpointError, match=r"custom .* needs Python code .* set trust_remote_code if you trust it"
    ):
        imported(custom, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()
    imported(custom, tmp_path / "imported", trust_remote_code=True)
    assert (tmp_path / "imported" / "mine.py").is_file()
    trusted = CheckpointSettings(model=str(tmp_path / "imported"), trust_remote_code=True)
    assert load_verified(trusted, EngineSettings()).description.fidelity.startswith("verified")
    with pytest.raises(CheckpointError, match="needs Python code"):
        load_verified(CheckpointSettings(model=str(tmp_path / "imported")), EngineSettings())


def test_custom_code_for_an_architecture_that_transformers_has_is_not_needed(copy: Path, tmp_path: Path) -> None:
    rewrite_json(copy / "config.json", auto_map={"AutoConfig": "mine.MineConfig"})
    (copy / "mine.py").write_text("raise SystemExit")
    imported(copy, tmp_path / "imported")
    assert not (tmp_path / "imported" / "mine.py").exists()


SMALL = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL_T5 = {"vocab_size": 400, "d_model": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize(
    ("model", "keys", "architecture"),
    [
        (AutoModelForCausalLM, {"model_type": "llama", **SMALL}, "LlamaForCausalLM"),
        (AutoModelForMaskedLM, {"model_type": "bert", **SMALL}, "BertForMaskedLM"),
        (AutoModelForSeq2SeqLM, {"model_type": "t5", **SMALL_T5}, "T5ForConditionalGeneration"),
    ],
)
def test_model_without_a_head_is_refused_by_its_architecture(
    model: Any, keys: dict[str, Any], architecture: str, labels: int, llama: Path, tmp_path: Path
) -> None:
    model.from_config(AutoConfig.for_model(**keys, num_labels=labels)).save_pretrained(tmp_path / "other")
    for file in llama.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "other")
    with pytest.raises(CheckpointError, match=f"is a.*{architecture}") as refused:
        imported(tmp_path / "other", tmp_path / "imported")
    said = (
        "a reranker is a sequence classifier" if architecture == "BertForMaskedLM" else "which tokens carry the score"
    )
    assert said in str(refused.value)
    with pytest.raises(CheckpointError, match=f"is a.*{architecture}"):
        load_verified(CheckpointSettings(model=str(tmp_path / "other")), EngineSettings())


@pytest.mark.parametrize("pad", [-1, None])
@pytest.mark.parametrize("architecture", ["llama", "bert", "modernbert", "phi3", "mpnet", "electra"])
def test_checkpoint_whose_pad_id_is_no_token_is_imported_exactly(
    pad: int | None, architecture: str, tmp_path: Path
) -> None:
    """The replay has pairs of many lengths, so batches are padded where the forward pads."""
    source = tmp_path / "source"
    if architecture == "llama":
        write_llama(source)
    elif architecture == "phi3":
        write_bert(source, architecture="phi3", num_key_value_heads=4, bos_token_id=2, eos_token_id=3)
    else:
        write_bert(source, architecture=architecture)
    rewrite_json(source / "config.json", pad_token_id=pad)
    imported(source, tmp_path / "imported")


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_pad_id_beyond_the_embeddings_is_refused(architecture: str, tmp_path: Path) -> None:
    source = write_bert(tmp_path / "source", architecture=architecture)
    rewrite_json(source / "config.json", pad_token_id=4000)
    with pytest.raises(CheckpointError, match=r"source cannot be loaded: pad_token_id of its config.json has no"):
        imported(source, tmp_path / "imported")


@pytest.mark.parametrize("recipe", ["rankllama", "bge-reranker", "dear", "gte-reranker-modernbert-base"])
def test_recipe_of_a_classifier_is_imported_exactly(recipe: str, tmp_path: Path) -> None:
    """Texts that are cut alone, padded pairs and token types: the reference must do all three."""
    family = {"rankllama": "llama", "dear": "llama", "bge-reranker": "bert"}.get(recipe, "modernbert")
    if family == "llama":
        write_llama(tmp_path / "model", config_pad=0)
    else:
        write_bert(tmp_path / "model", architecture=family, token_types=family == "bert")
    settings = CheckpointSettings(model=str(tmp_path / "model"), recipe=recipe)
    if family == "modernbert":
        settings = settings.model_copy(update={"max_pair_tokens": 100})
    written = import_checkpoint(settings, tmp_path / "imported")
    assert {check.fidelity.split(":")[0] for check in written.checks} == {"verified"}
