"""Git LFS pointers in place of files: told, where the file is read, and ignored where it is not."""

import json
import shutil
from pathlib import Path

import pytest

from reranker import Reranker
from reranker.checkpoints.encoders import load_encoder
from reranker.errors import CheckpointError
from reranker.importing import import_checkpoint
from reranker.settings import CheckpointSettings
from tests.checkpoints import rewrite_json

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"


@pytest.fixture
def copy(family: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may change."""
    return Path(shutil.copytree(family, tmp_path / "copy"))


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "reranker.json"]
)
def test_pointer_in_place_of_a_file_is_refused(name: str, copy: Path, tmp_path: Path) -> None:
    (copy / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=rf"{name} is a Git LFS pointer, .* run `git lfs pull` in {copy}$"):
        Reranker(str(copy))
    with pytest.raises(CheckpointError, match="is a Git LFS pointer"):
        import_checkpoint(CheckpointSettings(model=str(copy)), tmp_path / "imported")


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "model-00001-of-00001.safetensors"])
def test_pointer_in_place_of_shards_or_their_index_is_refused(name: str, copy: Path) -> None:
    shard = "model-00001-of-00001.safetensors"
    (copy / "model.safetensors").rename(copy / shard)
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"a": shard}}))
    (copy / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a Git LFS pointer"):
        Reranker(str(copy))


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer.model"])
def test_pointer_in_place_of_a_vocabulary_is_refused_without_tokenizer_json(name: str, copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a Git LFS pointer"):
        load_encoder(CheckpointSettings(model=str(copy)))


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_pointer_in_an_adapter_is_refused(name: str, lora: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(lora, tmp_path / "adapter"))
    (adapter / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a Git LFS pointer"):
        Reranker(str(adapter))


def test_pointer_in_the_base_model_of_an_adapter_is_refused(lora: Path, llama: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(lora, tmp_path / "adapter"))
    base = Path(shutil.copytree(llama, tmp_path / "base"))
    rewrite_json(adapter / "adapter_config.json", base_model_name_or_path=str(base))
    (base / "model.safetensors").write_text(POINTER)
    with pytest.raises(CheckpointError, match=r"base/model\.safetensors is a Git LFS pointer"):
        Reranker(str(adapter))


def test_pointers_that_are_not_read_do_not_matter(copy: Path) -> None:
    before = Reranker(str(copy)).score("when", ["tide"])
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "tokenizer.model", "vocab.txt", "model.onnx"):
        (copy / name).write_text(POINTER)
    assert Reranker(str(copy)).score("when", ["tide"]) == before


def test_encoder_does_not_need_the_weights(copy: Path) -> None:
    (copy / "model.safetensors").write_text(POINTER)
    assert load_encoder(CheckpointSettings(model=str(copy))).max_pair_tokens == 512
