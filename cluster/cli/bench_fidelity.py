"""`reranker bench fidelity`: how far our scores are from the authors' own loop, for every shape of model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster.bench.fidelity.settings import FidelityBenchSettings
from cluster.cli.options import Json, names_in, options_of, reported

_DEFAULT = (
    "llama-3.1-8b,rankllama-13b,qwen3-reranker-0.6b,zerank-1-small,mxbai-rerank-base-v2,bge-reranker-v2-gemma,"
    "ettin-32m,modernbert-base,monot5-base,monot5-3b"
)


@options_of(FidelityBenchSettings, {"Options": ("layers", "vocabulary", "pairs", "max_pair_tokens", "seed")})
def fidelity(
    options: dict[str, Any],
    shapes: Annotated[
        str, typer.Option(help="Comma-separated shapes of `reranker model synth`, in whose widths to test.")
    ] = _DEFAULT,
    json_path: Json = None,
) -> None:
    """Compare our scores with the authors' own loop, on random weights in the shape of every kind of model.

    The loop is Hugging Face's module, one pair at a time, with all logits of a language model. Takes minutes, and
    memory for a few layers in float32.

    Example: `reranker bench fidelity --json fidelity.json`
    """
    from cluster.bench.fidelity.measure import measure_fidelity
    from reranker.checkpoints.synth_shapes import SHAPES

    chosen, settings = names_in("--shapes", shapes, SHAPES), FidelityBenchSettings.model_validate(options)
    reported(lambda console: measure_fidelity(settings, chosen, console), json_path)
