"""`reranker bench fidelity` in miniature: a language model and an encoder, in the widths of real ones."""

import io

import pytest
from rich.console import Console

from cluster.bench.fidelity.measure import measure_fidelity
from cluster.bench.fidelity.settings import FidelityBenchSettings


@pytest.mark.parametrize("shape", ["ettin-32m", "mxbai-rerank-base-v2"])
def test_scores_are_within_the_bound_of_the_reference(shape: str) -> None:
    settings = FidelityBenchSettings(layers=1, vocabulary=1_500, pairs=12, max_pair_tokens=256)
    console = Console(record=True, width=200, file=io.StringIO())
    [row] = measure_fidelity(settings, [shape], console)["models"]
    assert row["forward"] == "fast"
    assert row["max_difference_float32"] < 1e-4
    assert row["logit_deviation"] > 1e-2
    assert row["tau_bfloat16"] > 0.5
    assert shape in console.export_text()
