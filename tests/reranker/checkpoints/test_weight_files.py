"""Of several sets of weights in one directory, Hugging Face's own choice is read and fingerprinted, and no other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reranker.checkpoints.files import locate
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.checkpoints.reference import reference_inputs
from reranker.checkpoints.weight_files import weight_files
from reranker.errors import CheckpointError
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import Passage
from tests.checkpoints import rewrite_json

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def copy(family: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may change."""
    return Path(shutil.copytree(family, tmp_path / "copy"))


def halves(tensors: Tensors) -> tuple[Tensors, Tensors]:
    names = sorted(tensors)
    middle = len(names) // 2
    return {n: tensors[n] for n in names[:middle]}, {n: tensors[n] for n in names[middle:]}


def write_shards(directory: Path, tensors: Tensors, ending: str = "safetensors") -> None:
    """Two shards with their index."""
    stem = "model" if ending == "safetensors" else "pytorch_model"
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(halves(tensors), 1):
        file = f"{stem}-{number:05}-of-00002.{ending}"
        write_file(directory / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (directory / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def write_file(path: Path, tensors: Tensors) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path, {"format": "pt"})
    else:
        torch.save(tensors, path)


def one_file(directory: Path, right: Tensors, wrong: Tensors) -> None:
    write_shards(directory, wrong)


def one_file_and_a_stale_index(directory: Path, right: Tensors, wrong: Tensors) -> None:
    write_shards(directory, wrong)
    next(directory.glob("model-*")).unlink()


def one_file_and_an_index_that_is_no_json(directory: Path, right: Tensors, wrong: Tensors) -> None:
    (directory / "model.safetensors.index.json").write_text("version https://git-lfs.github.com/spec/v1\n")


def variant_and_other_files(directory: Path, right: Tensors, wrong: Tensors) -> None:
    for name in ("model.fp16.safetensors", "consolidated.safetensors", "adapter_model.safetensors"):
        write_file(directory / name, wrong)
    (directory / "model-00009-of-00009.safetensors").write_bytes(b"left over")


def pytorch_beside_safetensors(directory: Path, right: Tensors, wrong: Tensors) -> None:
    write_file(directory / "pytorch_model.bin", wrong)
    write_shards(directory, wrong, "bin")


def shards_beside_pytorch(directory: Path, right: Tensors, wrong: Tensors) -> None:
    (directory / "model.safetensors").unlink()
    write_shards(directory, right)
    write_file(directory / "pytorch_model.bin", wrong)


def shards_whose_index_places_a_tensor_wrongly(directory: Path, right: Tensors, wrong: Tensors) -> None:
    shards_beside_pytorch(directory, right, wrong)
    index = directory / "model.safetensors.index.json"
    rewrite_json(
        index, weight_map=dict(zip(right, json.loads(index.read_text())["weight_map"].values(), strict=True))
    )


def shards_that_share_a_tensor(directory: Path, right: Tensors, wrong: Tensors) -> None:
    """Hugging Face reads the later shard's, whatever the index says."""
    shards_beside_pytorch(directory, right, wrong)
    first, second = halves(right)
    name = min(second)
    write_file(directory / "model-00001-of-00002.safetensors", first | {name: wrong[name]})
    index = directory / "model.safetensors.index.json"
    placed = json.loads(index.read_text())["weight_map"] | {name: "model-00001-of-00002.safetensors"}
    rewrite_json(index, weight_map=placed)


def pytorch_alone(directory: Path, right: Tensors, wrong: Tensors) -> None:
    (directory / "model.safetensors").unlink()
    write_file(directory / "pytorch_model.bin", right)
    write_shards(directory, wrong, "bin")


def pytorch_shards_alone(directory: Path, right: Tensors, wrong: Tensors) -> None:
    (directory / "model.safetensors").unlink()
    write_shards(directory, right, "bin")
    write_file(directory / "model.fp16.safetensors", wrong)


def file_named_by_the_config(directory: Path, right: Tensors, wrong: Tensors) -> None:
    write_file(directory / "other.safetensors", right)
    write_file(directory / "model.safetensors", wrong)
    rewrite_json(directory / "config.json", transformers_weights="other.safetensors")


LAYOUTS = [
    one_file,
    one_file_and_a_stale_index,
    one_file_and_an_index_that_is_no_json,
    variant_and_other_files,
    pytorch_beside_safetensors,
    shards_beside_pytorch,
    shards_whose_index_places_a_tensor_wrongly,
    shards_that_share_a_tensor,
    pytorch_alone,
    pytorch_shards_alone,
    file_named_by_the_config,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_read_and_fingerprinted_are_those_of_hugging_face(
    layout: Callable[[Path, Tensors, Tensors], None], copy: Path
) -> None:
    right = load_file(copy / "model.safetensors")
    wrong = {name: tensor + 0.1 for name, tensor in right.items()}
    layout(copy, right, wrong)
    loaded = load_verified(CheckpointSettings(model=str(copy)), EngineSettings())
    query, passage = "when is high tide", Passage("The tide table lists high and low water.")
    inputs = reference_inputs(AutoTokenizer.from_pretrained(copy), loaded.encoder.template, 512, query, passage)
    theirs = AutoModelForSequenceClassification.from_pretrained(copy)(**inputs).logits.item()
    ours = loaded.engine.score(loaded.encoder.encode(query, [passage]))[0]
    assert ours == pytest.approx(theirs, abs=1e-4)

    files = locate(CheckpointSettings(model=str(copy)), weights=True)
    before = checkpoint_sha256(files)
    for path in copy.iterdir():
        if path not in weight_files(copy) and path.suffix in (".safetensors", ".bin"):
            path.unlink()
    assert checkpoint_sha256(files) == before is not None


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.safetensors.index.json", "[]", "is no JSON object"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 3}}', "is not an index"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "model-1.safetensors"}}', "names model-1.safetensors"),
        ("config.json", '{"transformers_weights": "../model.safetensors"}', "transformers_weights names"),
        ("config.json", '{"transformers_weights": "none.safetensors"}', "transformers_weights names"),
    ],
)
def test_index_that_cannot_be_followed_is_refused(name: str, content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model" / name).write_text(content)
    with pytest.raises(CheckpointError, match=problem):
        weight_files(tmp_path / "model")
