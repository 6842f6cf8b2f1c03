"""Loading checkpoints: what is refused, which template applies, and no network by default."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import from_anywhere, load_tokenizer, locate
from reranker.checkpoints.manifest import Manifest, write_manifest
from reranker.checkpoints.modules import load_module
from reranker.engine.engine import choose_device, choose_dtype
from reranker.errors import CheckpointError
from reranker.fidelity import load_verified
from reranker.recipe import Recipe
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import rewrite_json, write_bert


@pytest.fixture
def copy(family: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may damage."""
    return Path(shutil.copytree(family, tmp_path / "copy"))


def load(directory: Path | str, **settings: object) -> None:
    load_verified(CheckpointSettings.model_validate({"model": str(directory), **settings}), EngineSettings())


def test_checkpoint_with_two_logits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has 2 logits: a reranker has exactly one"):
        load(write_bert(tmp_path / "two", labels=2))


def test_checkpoint_without_a_tokenizer_is_refused(copy: Path) -> None:
    for file in copy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load(copy)


def test_checkpoint_without_a_head_is_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    head = {name for name in weights if name.startswith(("score.", "classifier."))}
    save_file({k: v for k, v in weights.items() if k not in head}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks weights.*(score|classifier)\.weight"):
        load(copy)


def test_weights_that_do_not_match_the_config_are_refused(copy: Path) -> None:
    rewrite_json(copy / "config.json", intermediate_size=96)
    with pytest.raises(CheckpointError, match="copy"):
        load(copy)


@pytest.mark.parametrize("model", ["/no/such/place", "./nothing", "a/b/c"])
def test_model_path_that_is_not_a_directory_is_refused(model: str) -> None:
    with pytest.raises(CheckpointError, match="is not a directory"):
        load(model)


def test_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it is not a checkpoint"):
        load(tmp_path)


def test_max_pair_tokens_beyond_the_models_positions_are_refused(family: Path) -> None:
    with pytest.raises(CheckpointError, match="max_pair_tokens 5000 exceeds"):
        load(family, max_pair_tokens=5000)


@pytest.mark.parametrize(
    "content", ["{", '{"template": "dear"}', '{"template": "other", "max_pair_tokens": 9}', '{"golden_scores": []}']
)
def test_invalid_manifest_is_refused(copy: Path, content: str) -> None:
    (copy / "reranker.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"reranker\.json"):
        load(copy)


def test_settings_override_the_manifest_which_overrides_the_defaults(family: Path, tmp_path: Path) -> None:
    def encoder_of(directory: Path, **settings: object) -> tuple[str, int]:
        encoder = load_encoder(CheckpointSettings.model_validate({"model": str(directory), **settings}))
        return encoder.template.name, encoder.max_pair_tokens

    assert encoder_of(family) == ("bare", 512)
    dear = Path(shutil.copytree(family, tmp_path / "dear-something"))
    assert encoder_of(dear) == ("dear", 228)
    write_manifest(dear, Manifest(recipe=Recipe(name="bare", max_pair_tokens=100)))
    assert encoder_of(dear) == ("bare", 100)
    assert encoder_of(dear, template="dear", max_pair_tokens=50) == ("dear", 50)


def test_lora_adapter_is_merged_into_the_loaded_module(lora: Path, llama: Path) -> None:
    adapted, base = (
        load_module(locate(CheckpointSettings(model=str(path)), weights=True), dtype=torch.float32, device="cpu")
        for path in (lora, llama)
    )
    assert type(adapted) is type(base)
    assert not torch.equal(adapted.score.weight, base.score.weight)
    layer, base_layer = adapted.model.layers[0], base.model.layers[0]
    assert not torch.equal(layer.self_attn.q_proj.weight, base_layer.self_attn.q_proj.weight)
    assert torch.equal(layer.self_attn.k_proj.weight, base_layer.self_attn.k_proj.weight)


def test_adapter_without_a_tokenizer_uses_its_base_models(lora: Path) -> None:
    files = locate(CheckpointSettings(model=str(lora)), weights=False)
    assert not (files.directory / "tokenizer.json").exists()
    assert load_tokenizer(files).is_fast


def test_device_missing_on_this_machine_is_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="sees no CUDA device"):
            choose_device("cuda")
    assert choose_device("cpu") == "cpu"


def test_dtype_auto_is_the_saved_dtype_if_the_device_is_fast_in_it() -> None:
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert choose_dtype("auto", torch.bfloat16, "cpu") == (torch.bfloat16 if fast else torch.float32)
    assert choose_dtype("auto", torch.float32, "cpu") == torch.float32
    assert choose_dtype("auto", torch.float16, "cpu") == torch.float32
    assert choose_dtype("bfloat16", torch.float32, "cpu") == torch.bfloat16


def test_embedded_model_ranks_without_network_access() -> None:
    program = """
import json, socket
def refuse(*args):
    raise AssertionError(f"network: {args[1:]}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
from reranker import Reranker
hits = Reranker().rank("when is high tide", ["bread", "high tide is at noon"])
print(json.dumps([hit.index for hit in hits]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 0]


def test_local_path_becomes_absolute_for_a_process_with_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for given, expected in {
        "runs/mine": str(tmp_path / "runs" / "mine"),
        "./runs/mine": str(tmp_path / "runs" / "mine"),
        "embedded": "embedded",
        "org/name": "org/name",
    }.items():
        assert from_anywhere(CheckpointSettings(model=given)).model == expected
