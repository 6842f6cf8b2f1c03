"""Fingerprints: everything that scores depend on counts, and the location of the files does not."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from reranker.checkpoints.files import CheckpointFiles, locate
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.errors import CheckpointError, InvalidFile
from reranker.ir.locations import content_sha256
from reranker.settings import CheckpointSettings
from tests.checkpoints import rewrite_json

MIB = 2**20


def files_of(directory: Path) -> CheckpointFiles:
    return locate(CheckpointSettings(model=str(directory)), weights=True)


@pytest.fixture
def copy(family: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may change."""
    return Path(shutil.copytree(family, tmp_path / "copy"))


@given(content=st.binary(max_size=200), change=st.integers(1, 255), data=st.data())
def test_file_fingerprint_is_the_sha256_of_its_bytes(
    content: bytes, change: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second = (tmp_path_factory.getbasetemp() / name for name in ("first.jsonl", "second.tsv.gz"))
    first.write_bytes(content)
    second.write_bytes(content)
    assert (
        content_sha256(first)
        == content_sha256(second)
        == content_sha256(str(first))
        == hashlib.sha256(content).hexdigest()
    )
    changed = bytearray(content + b"\0")
    changed[data.draw(st.integers(0, len(content)))] ^= change
    for other in (changed, content + b"\n"):
        second.write_bytes(other)
        assert content_sha256(second) != content_sha256(first)


def test_file_fingerprint_covers_every_byte_of_a_large_file(tmp_path: Path) -> None:
    content = bytearray(2 * MIB + 3)
    path = tmp_path / "large"
    seen = set()
    for at in (None, 0, MIB - 1, MIB, 2 * MIB + 2):
        path.write_bytes(content if at is None else content[:at] + b"\1" + content[at + 1 :])
        seen.add(content_sha256(path))
    assert len(seen) == 5


def test_fingerprint_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="no such file"):
        content_sha256(tmp_path / "none")


def test_checkpoint_fingerprint_does_not_depend_on_its_path_or_readme(copy: Path, family: Path) -> None:
    assert checkpoint_sha256(files_of(copy)) == checkpoint_sha256(files_of(family))
    (copy / "README.md").write_text("No score depends on this file.")
    moved = copy.rename(copy.with_name("moved"))
    assert checkpoint_sha256(files_of(moved)) == checkpoint_sha256(files_of(family))


def change_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path)
    head = next(name for name in weights if name.endswith(("score.weight", "classifier.weight")))
    weights[head] = torch.nextafter(weights[head], torch.tensor(torch.inf))
    save_file(weights, path, {"format": "pt"})


def change_config(directory: Path) -> None:
    rewrite_json(directory / "config.json", initializer_range=0.5)


def change_tokenizer(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text() + " ")


def change_tokenizer_settings(directory: Path) -> None:
    rewrite_json(directory / "tokenizer_config.json", model_max_length=100)


def write_vocabulary(directory: Path) -> None:
    (directory / "vocab.txt").write_text("[UNK]\n")


def write_manifest(directory: Path) -> None:
    (directory / "reranker.json").write_text('{"template": "bare", "max_pair_tokens": 99}')


def write_chat_template(directory: Path) -> None:
    (directory / "chat_template.jinja").write_text("{{ messages[0].content }}")


def write_prompt(directory: Path) -> None:
    (directory / "config_sentence_transformers.json").write_text("{}")


@pytest.mark.parametrize(
    "change",
    [
        change_weights,
        change_config,
        change_tokenizer,
        change_tokenizer_settings,
        write_vocabulary,
        write_manifest,
        write_chat_template,
        write_prompt,
    ],
)
def test_change_to_any_file_that_scores_depend_on_changes_the_fingerprint(
    change: Callable[[Path], None], copy: Path
) -> None:
    before = checkpoint_sha256(files_of(copy))
    change(copy)
    assert checkpoint_sha256(CheckpointFiles("copy", copy, None, None)) not in (before, None)


def test_tokens_that_a_module_reads_are_in_the_fingerprint(copy: Path) -> None:
    (copy / "modules.json").write_text('[{"path": "", "type": "Transformer"}, {"path": "1", "type": "LogitScore"}]')
    (copy / "1").mkdir()
    seen = set()
    for token in (1, 2):
        (copy / "1" / "config.json").write_text(f'{{"true_token_id": {token}}}')
        seen.add(checkpoint_sha256(CheckpointFiles("copy", copy, None, None)))
    assert len(seen) == 2


def test_checkpoint_without_weights_has_no_fingerprint(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert checkpoint_sha256(files_of(copy)) is None


@pytest.fixture
def adapter(lora: Path, llama: Path, tmp_path: Path) -> Path:
    """An adapter and its base model, both of which the test may change."""
    base = shutil.copytree(llama, tmp_path / "base")
    copy = Path(shutil.copytree(lora, tmp_path / "adapter"))
    rewrite_json(copy / "adapter_config.json", base_model_name_or_path=str(base))
    return copy


def test_adapter_fingerprint_covers_adapter_and_base(adapter: Path) -> None:
    files = files_of(adapter)
    seen = [checkpoint_sha256(files), checkpoint_sha256(files_of(adapter.parent / "base"))]
    change_weights(adapter.parent / "base")
    seen.append(checkpoint_sha256(files))
    rewrite_json(adapter / "adapter_config.json", lora_alpha=64)
    seen.append(checkpoint_sha256(files))
    path = adapter / "adapter_model.safetensors"
    save_file({name: weights + 1 for name, weights in load_file(path).items()}, path)
    seen.append(checkpoint_sha256(files))
    assert None not in seen
    assert len(set(seen)) == len(seen)


def test_fingerprint_samples_every_mib_and_reads_small_tensors_whole(copy: Path) -> None:
    path = copy / "model.safetensors"
    save_file({"large": torch.zeros(3 * MIB, dtype=torch.uint8), "small": torch.zeros(999)}, path)
    content = bytearray(path.read_bytes())
    large = 8 + int.from_bytes(content[:8], "little")
    files = CheckpointFiles("copy", copy, None, None)
    seen = [checkpoint_sha256(files)]
    for at in (large, MIB + 2**16 - 1, 2 * MIB, len(content) - 3000, len(content) - 1):
        content[at] ^= 1
        path.write_bytes(content)
        seen.append(checkpoint_sha256(files))
    assert len(set(seen)) == len(seen) == 6


@pytest.mark.parametrize("format_is_zip", [True, False])
def test_fingerprint_of_pytorch_files_covers_small_and_large_tensors(format_is_zip: bool, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    seen = []
    for large, small in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        tensors = {"large": torch.zeros(MIB // 2), "small": torch.zeros(999)}
        tensors["large"][-1], tensors["small"][-1] = large, small
        torch.save(tensors, copy / "pytorch_model.bin", _use_new_zipfile_serialization=format_is_zip)
        seen.append(checkpoint_sha256(files_of(copy)))
    assert None not in seen
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, b"\2\0\0\0\0\0\0\0[]", b'\5\0\0\0\0\0\0\0{"a"', b"version https"]
)
def test_weights_file_not_in_safetensors_format_is_refused(content: bytes, copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a safetensors file"):
        checkpoint_sha256(files_of(copy))
