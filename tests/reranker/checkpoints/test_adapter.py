"""LoRA adapters as they are found: merged exactly, or refused in one line that says what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from reranker import Reranker
from reranker.checkpoints.files import locate
from reranker.checkpoints.reference import reference_logits
from reranker.errors import CheckpointError
from reranker.importing import import_checkpoint
from reranker.prompt import BARE
from reranker.settings import CheckpointSettings
from reranker.types import Passage
from tests.checkpoints import rewrite_json

DOCUMENTS = ["Bread rises.", "The tide table lists high and low water.", ""]


@pytest.fixture
def adapter(lora: Path, llama: Path, tmp_path: Path) -> Path:
    """An adapter with its tokenizer, and its base model beside it, which the test may change."""
    shutil.copytree(llama, tmp_path / "base")
    directory = Path(shutil.copytree(lora, tmp_path / "adapter"))
    for file in llama.glob("tokenizer*"):
        shutil.copy(file, directory)
    rewrite_json(directory / "adapter_config.json", base_model_name_or_path=str(tmp_path / "base"))
    return directory


def logits(directory: Path) -> np.ndarray:
    return Reranker(str(directory), device="cpu").score("when is high tide", DOCUMENTS)


def with_more_embeddings(directory: Path, *, listed: bool) -> None:
    """Overwrites an adapter with one that was trained after its tokenizer got a pad token."""
    base = directory.parent / "base"
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    model = AutoModelForSequenceClassification.from_pretrained(base)
    model.resize_token_embeddings(len(tokenizer))
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        target_modules=["q_proj"],
        modules_to_save=["score", "embed_tokens"] if listed else None,
        init_lora_weights=False,
    )
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(str(directory), save_embedding_layers=not listed)
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize("listed", [True, False])
def test_adapter_with_more_embeddings_than_its_base_has_the_logits_of_hugging_face(
    listed: bool, adapter: Path
) -> None:
    with_more_embeddings(adapter, listed=listed)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    module = AutoModelForSequenceClassification.from_pretrained(adapter.parent / "base")
    module.resize_token_embeddings(len(tokenizer))
    theirs = PeftModel.from_pretrained(module, str(adapter)).merge_and_unload().eval()
    passages = [Passage("a <pad> in the text")]
    expected = reference_logits(theirs, tokenizer, BARE, 100, [("when <pad>", passage) for passage in passages])
    ours = Reranker(str(adapter), device="cpu").score("when <pad>", ["a <pad> in the text"])
    assert ours == pytest.approx(expected, abs=1e-4)


def test_adapter_of_a_language_model_may_bring_both_of_its_tables(adapter: Path) -> None:
    base = adapter.parent / "base"
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(base))
    model.save_pretrained(base)
    (base / "template.yaml").write_text(
        '{template: {pieces: ["{query} {document}"], special_tokens: single}, max_pair_tokens: 96, '
        "score: {kind: tokens, tokens: {y: 1}}}"
    )
    adapted = get_peft_model(model, LoraConfig(task_type=TaskType.CAUSAL_LM, target_modules=["q_proj"]))
    torch.nn.init.normal_(model.get_output_embeddings().weight)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(str(adapter), save_embedding_layers=True)
    assert any("lm_head" in name for name in load_file(adapter / "adapter_model.safetensors"))
    module = adapted.merge_and_unload().eval()
    module.save_pretrained(merged := adapter.parent / "merged")
    for file in adapter.glob("tokenizer*"):
        shutil.copy(file, merged)
    options = {"recipe": str(base / "template.yaml"), "device": "cpu"}
    ours, theirs = (Reranker(str(path), **options).score("when", DOCUMENTS) for path in (adapter, merged))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_adapter_in_pytorch_format_is_read(adapter: Path) -> None:
    before = logits(adapter)
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert logits(adapter) == pytest.approx(before)


def test_token_that_only_the_tokenizer_of_an_adapter_knows_is_read_as_text(adapter: Path) -> None:
    before = Reranker(str(adapter), device="cpu").score("when <pad>", ["a <pad>"])
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(adapter)
    assert Reranker(str(adapter), device="cpu").score("when <pad>", ["a <pad>"]) == pytest.approx(before)


def test_adapter_gives_a_head_to_a_base_model_without_one(adapter: Path) -> None:
    before = logits(adapter)
    base = adapter.parent / "base"
    weights = load_file(base / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    rewrite_json(base / "config.json", architectures=["LlamaForCausalLM"], id2label={"0": "a", "1": "b"})
    assert logits(adapter) == pytest.approx(before)


@pytest.mark.parametrize("written", ["./base", "base", "../base"])
def test_import_of_an_adapter_needs_neither_its_base_nor_a_working_directory(
    written: str, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logits(adapter)
    if not written.startswith(".."):
        monkeypatch.chdir(tmp_path)  # where PEFT starts relative paths
    rewrite_json(adapter / "adapter_config.json", base_model_name_or_path=written)
    import_checkpoint(CheckpointSettings(model=str(adapter)), tmp_path / "imported")
    monkeypatch.chdir("/")
    shutil.rmtree(tmp_path / "base")
    moved = (tmp_path / "imported").rename(tmp_path / "moved")
    reranker = Reranker(str(moved), device="cpu")
    assert reranker.description.fidelity.startswith("verified")
    assert reranker.score("when is high tide", DOCUMENTS) == pytest.approx(before)


def language_model(directory: Path) -> None:
    rewrite_json(directory / "adapter_config.json", task_type="CAUSAL_LM")


def other_task(directory: Path) -> None:
    rewrite_json(directory / "adapter_config.json", task_type="TOKEN_CLS")


def without_head(directory: Path) -> None:
    path = directory / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "score" not in name}, path)


def without_head_over_a_causal_model(directory: Path) -> None:
    without_head(directory)
    base = directory.parent / "base"
    LlamaForCausalLM(LlamaConfig.from_pretrained(base)).save_pretrained(base)


def without_weights(directory: Path) -> None:
    (directory / "adapter_model.safetensors").unlink()


def damaged(directory: Path) -> None:
    (directory / "adapter_model.safetensors").write_bytes(b"xx")


def without_base_name(directory: Path) -> None:
    rewrite_json(directory / "adapter_config.json", base_model_name_or_path=None)


def config_that_is_a_list(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("[]")


def base_elsewhere(directory: Path) -> None:
    rewrite_json(directory / "adapter_config.json", base_model_name_or_path="./nowhere")


def base_that_is_an_adapter(directory: Path) -> None:
    shutil.copytree(directory, directory.parent / "first")
    rewrite_json(directory / "adapter_config.json", base_model_name_or_path="../first")


def beside_a_whole_model(directory: Path) -> None:
    shutil.copytree(directory.parent / "base", directory, dirs_exist_ok=True)


def prefix_tuning(directory: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(directory.parent / "base")
    tuned = get_peft_model(model, PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=2))
    tuned.peft_config["default"].base_model_name_or_path = str(directory.parent / "base")
    tuned.save_pretrained(str(directory))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (language_model, r"is a language model \(an adapter of task type CAUSAL_LM\)"),
        (other_task, "task type TOKEN_CLS: a reranker's is SEQ_CLS"),
        (without_head, r"without its head \(score\.weight\): save it again"),
        (without_head_over_a_causal_model, r"without its head \(score\.weight\): save it again"),
        (without_weights, "has no adapter_model.safetensors"),
        (damaged, "adapter cannot be loaded"),
        (without_base_name, "has no base_model_name_or_path"),
        (config_that_is_a_list, "has no base_model_name_or_path"),
        (base_elsewhere, "its base model is not there: ./nowhere is not a directory"),
        (base_that_is_an_adapter, "the base model of adapter, has no config.json"),
        (beside_a_whole_model, "keep one of the two"),
        (prefix_tuning, "of type PREFIX_TUNING, which cannot be merged"),
    ],
)
def test_adapter_that_cannot_be_merged_exactly_is_refused(
    change: Callable[[Path], None], problem: str, adapter: Path, tmp_path: Path
) -> None:
    change(adapter)
    with pytest.raises(CheckpointError, match=problem) as refused:
        import_checkpoint(CheckpointSettings(model=str(adapter)), tmp_path / "imported")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "imported").exists()
    with pytest.raises(CheckpointError, match=problem):
        logits(adapter)


def test_base_model_of_the_hub_is_read_at_the_revision_that_the_adapter_names(
    adapter: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a cache with two revisions, of which the branch has moved on."""
    repository = tmp_path / "hub" / "models--org--base"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(tmp_path / "base", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for revision, commit in ((None, "b" * 40), ("a" * 40, "a" * 40)):
        rewrite_json(adapter / "adapter_config.json", base_model_name_or_path="org/base", revision=revision)
        base = locate(CheckpointSettings(model=str(adapter)), weights=True).base
        assert base is not None
        assert json.loads((adapter / "adapter_config.json").read_text())["revision"] == revision
        assert base.resolve().name == commit
