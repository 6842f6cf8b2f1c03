"""The tables of GPUs and models, against each other and against what the package itself runs."""

from pathlib import Path
from typing import get_args

import pytest

from cluster.planning.demand import SHARD_CHARS, Request
from cluster.planning.gpus import GPUS, MEASURED_GPU, SHARE_OF_PEAK
from cluster.planning.models import SHAPES, planned_model
from cluster.planning.settings import GpuName
from deployments.settings import ShardSettings
from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError, InvalidField

ROOT = Path(__file__).parents[3]


def test_every_gpu_names_its_source_and_can_be_asked_for() -> None:
    assert set(GPUS) == set(get_args(GpuName)) - {"all", "cpu"}
    for gpu in GPUS.values():
        assert gpu.source.startswith("https://")
        assert 50e12 < gpu.peak_flops < 3e15
        # A dense peak, not a sparse one: the maker's sparse figure is the double, in the words of the source.
        assert "sparsity" in gpu.source
    assert MEASURED_GPU in GPUS
    assert 0.4 < SHARE_OF_PEAK < 0.77, "77 % are of measured matrix products, not of the data sheet"


def test_shapes_are_those_of_synth() -> None:
    import torch

    from reranker.checkpoints import synth

    for name, shape in synth.SHAPES.items():
        assert SHAPES[name] == ModelShape.of(synth._config(shape, torch.bfloat16))


def test_known_hub_ids_are_read_without_files() -> None:
    dear = planned_model("abdoelsayed/dear-8b-reranker-ranknet-v1")
    assert (dear.shape, dear.max_pair_tokens) == (SHAPES["llama-3.1-8b"], 228)
    assert dear.shape.weights_bytes(2) == pytest.approx(15.01e9, rel=0.001)
    assert planned_model("BAAI/bge-reranker-v2-m3").max_pair_tokens == 1024
    # As their cards count them: 0.6, 4 and 8 billion weights, embeddings once.
    sizes = [
        planned_model(f"Qwen/Qwen3-Reranker-{size}").shape.weights_bytes(1) / 1e9 for size in ("0.6B", "4B", "8B")
    ]
    assert sizes == [pytest.approx(size, rel=0.06) for size in (0.6, 4.02, 7.57)]


def test_directories_and_the_embedded_model_are_read_from_their_config() -> None:
    embedded = planned_model("embedded")
    assert (embedded.shape.causal, embedded.shape.layers, embedded.shape.hidden) == (False, 6, 384)
    copied = planned_model(str(ROOT / "reranker" / "embedded"))
    assert (copied.shape, copied.max_pair_tokens) == (embedded.shape, embedded.max_pair_tokens)


@pytest.mark.parametrize("name", ["org/unknown", "./nowhere", "jinaai/jina-reranker-v2-base-multilingual"])
def test_other_models_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidField, match=f"--model: '{name}' is no directory, and its sizes are not known here"):
        planned_model(name)


def test_a_directory_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        planned_model(str(tmp_path))


def test_shards_are_those_of_the_graph() -> None:
    assert ShardSettings().max_chars == SHARD_CHARS
    assert Request(100, 85, 11).shards(SHARD_CHARS) == 1
    assert Request(1_000, 85, 11).shards(SHARD_CHARS) == 6
    assert Request(3, 200, 11).shards(10) == 3, "a document is not cut"


def test_requests_are_cut_as_the_model_reads_them() -> None:
    assert Request(1, 500, 28).cut_to(228) == Request(1, 200, 28)
    assert Request(1, 100, 28).cut_to(228) == Request(1, 100, 28)
    with pytest.raises(InvalidField, match="--query-tokens: 228 leaves no room for a document"):
        Request(1, 100, 228).cut_to(228)
