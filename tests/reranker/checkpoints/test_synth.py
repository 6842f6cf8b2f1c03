"""Synthetic checkpoints: loadable by Hugging Face, reproducible, sharded, and written atomically."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from reranker.checkpoints.synth import synthesize
from reranker.checkpoints.synth_shapes import SHAPES, SynthShape, llama_shape, shape_named
from reranker.errors import CheckpointError, InvalidField
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import Passage
from tests.checkpoints import SAMPLE_TEXTS

TINY = llama_shape(
    layers=2,
    hidden=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    intermediate=192,
    vocabulary=600,
    positions=1024,
    rope_theta=500_000.0,
    rope_factor=8.0,
    rope_original_positions=256,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("synth") / "tiny"
    synthesize(TINY, output, SAMPLE_TEXTS, max_shard_bytes=100_000)
    return output


def test_hugging_face_loads_a_synthetic_checkpoint_without_missing_weights(tiny: Path) -> None:
    config = AutoConfig.from_pretrained(tiny)
    assert (config.num_labels, config.rope_parameters["rope_type"]) == (1, "llama3")
    model, loaded = AutoModelForSequenceClassification.from_pretrained(tiny, output_loading_info=True)
    assert not any(loaded[keys] for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype is torch.bfloat16
    assert TINY.weights == sum(parameter.numel() for parameter in model.parameters())


def test_synthetic_tokenizer_has_llama_3s_pair_template_and_no_pad_token(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert tokenizer.pad_token is None
    ids = tokenizer("tide", "table")["input_ids"]
    assert [at for at, token in enumerate(ids) if token == tokenizer.bos_token_id] == [0, ids[1:].index(0) + 1]
    assert tokenizer.decode(tokenizer("¿dónde? 潮汐 🌊", add_special_tokens=False)["input_ids"]) == "¿dónde? 潮汐 🌊"


def test_shard_index_names_the_shard_of_every_tensor(tiny: Path) -> None:
    index = json.loads((tiny / "model.safetensors.index.json").read_bytes())
    shards = sorted(path.name for path in tiny.glob("*.safetensors"))
    count = len(shards)
    assert count > 2
    assert shards == [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    shard_of, total_bytes = {}, 0
    for shard in shards:
        with safe_open(tiny / shard, "pt") as file:
            sizes = [file.get_tensor(name).nbytes for name in file.keys()]  # noqa: SIM118  (no mapping)
            shard_of |= dict.fromkeys(file.keys(), shard)
        assert sum(sizes) <= 100_000 or len(sizes) == 1
        total_bytes += sum(sizes)
    assert index["weight_map"] == shard_of
    assert index["metadata"]["total_size"] == total_bytes == TINY.weights * 2


def test_same_seed_gives_the_same_files_and_weights_with_any_shard_size(tiny: Path, tmp_path: Path) -> None:
    synthesize(TINY, tmp_path / "again", SAMPLE_TEXTS, max_shard_bytes=100_000)
    files = sorted(path.name for path in tiny.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in files:
        assert (tiny / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    synthesize(TINY, tmp_path / "whole", SAMPLE_TEXTS)
    synthesize(TINY, tmp_path / "other", SAMPLE_TEXTS, seed=1)
    first, whole, other = (
        AutoModelForSequenceClassification.from_pretrained(path).model.layers[1].mlp.up_proj.weight
        for path in (tiny, tmp_path / "whole", tmp_path / "other")
    )
    assert torch.equal(first, whole)
    assert not torch.equal(first, other)


def test_logits_of_a_synthetic_checkpoint_depend_on_query_and_passage(tiny: Path) -> None:
    loaded = load_verified(CheckpointSettings(model=str(tiny), dtype="float32"), EngineSettings())
    assert (loaded.description.template, loaded.description.max_pair_tokens) == ("dear", 228)
    passages = [Passage(f"{text} This is the end.") for text in SAMPLE_TEXTS]
    one, other = (loaded.engine.score(loaded.encoder.encode(query, passages)) for query in ("tides", "bread"))
    assert np.ptp(one) > 0.3
    assert np.abs(one - other).max() > 0.05


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ("12x576", "llama-3.1-8b", "rankllama-13b")])
def test_shape_of_a_known_model_runs_by_its_recipe(name: str, tmp_path: Path) -> None:
    small = SHAPES[name].cut(layers=1, vocabulary=1_200)
    sizes = {key: 16 for key in ("hidden_size", "d_model", "intermediate_size", "d_ff") if key in small.config}
    heads = {key: 2 for key in ("num_attention_heads", "num_key_value_heads", "num_heads") if key in small.config}
    small = SynthShape({**small.config, **sizes, **heads}, small.recipe, small.task)
    synthesize(small, tmp_path / name, SAMPLE_TEXTS, dtype=torch.float32)
    loaded = load_verified(CheckpointSettings(model=str(tmp_path / name), max_pair_tokens=300), EngineSettings())
    logits = loaded.engine.score(loaded.encoder.encode("tides", [Passage(text) for text in SAMPLE_TEXTS]))
    assert len(set(logits.tolist())) == len(SAMPLE_TEXTS)


def test_progress_sums_to_the_bytes_of_the_weights(tmp_path: Path) -> None:
    steps: list[int] = []
    assert synthesize(TINY, tmp_path / "out", SAMPLE_TEXTS, dtype=torch.float32, progress=steps.append) == sum(steps)
    assert sum(steps) == TINY.weights * 4


def test_non_empty_output_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match="not an empty directory"):
        synthesize(TINY, tmp_path, SAMPLE_TEXTS)


def test_disk_too_small_is_refused_before_writing(tmp_path: Path) -> None:
    huge = llama_shape(100, 65_536, 64, 64, 1024, 1_048_576, 1_000_000, 8192, 10_000.0)
    with pytest.raises(CheckpointError, match="GB free"):
        synthesize(huge, tmp_path / "huge", SAMPLE_TEXTS)
    assert not list(tmp_path.iterdir())


def test_interrupted_synthesis_leaves_no_files(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(TINY, tmp_path / "out", SAMPLE_TEXTS, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_empty_output_directory_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    synthesize(TINY, tmp_path / "empty", SAMPLE_TEXTS)
    assert (tmp_path / "empty" / "config.json").is_file()


def test_named_shapes_have_as_many_weights_as_their_models() -> None:
    assert SHAPES["llama-3.1-8b"].weights == pytest.approx(7.505e9, rel=1e-3)
    assert SHAPES["rankllama-13b"].weights == pytest.approx(12.85e9, rel=2e-3)
    with pytest.raises(InvalidField, match=r"'70b' is not known: use one of 12x576, llama-3\.1-8b, rankllama-13b"):
        shape_named("70b")
