"""`reranker model`: import checkpoints, or write one of random weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.model_recipes import list_models, show
from cluster.cli.options import MODEL_PANEL, Forward, options_of
from reranker.settings import CheckpointSettings, EngineSettings

_POOLING = {
    "last": "logits read at the last token",
    "mean": "logits of the mean over all tokens",
    "padded": "logits read at a pad token, as Hugging Face does because the tokenizer's pad id is not the config's",
}

model = typer.Typer(help="Prepare checkpoints, and see how they are run.", no_args_is_help=True)
model.command("list")(list_models)
model.command()(show)


@model.callback()
def root() -> None:
    """Prepare checkpoints, and see how they are run."""


@model.command("import")
@options_of(
    CheckpointSettings,
    {MODEL_PANEL: ("recipe", "template", "max_pair_tokens", "pooling", "revision", "trust_remote_code")},
)
def import_model(
    options: dict[str, Any],
    source: Annotated[str, typer.Argument(metavar="SRC", help="Checkpoint or adapter directory, or hub id.")],
    output: Annotated[Path, typer.Option(help="Output directory; it must be empty or not exist yet.")],
    forward: Forward = "auto",
) -> None:
    """Copy a checkpoint and write its golden scores, computed by Hugging Face in float32 and bfloat16.

    OUTPUT is written if our engine gives these scores in both. Every replica that serves it checks them at startup,
    and refuses to serve if its own differ. Importing needs memory for the weights in float32.

    Example: `reranker model import cross-encoder/ms-marco-MiniLM-L6-v2 --output minilm --template bare`
    """
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"scoring golden pairs with {source} in Hugging Face …"):
        from reranker.importing import import_checkpoint

        settings = CheckpointSettings.model_validate({"model": source, **options})
        imported = import_checkpoint(settings, output, EngineSettings.model_validate({"forward": forward}))
    manifest, recipe = imported.manifest, imported.manifest.recipe
    console.print(
        f"{output}: template {recipe.template.name}, {recipe.max_pair_tokens} tokens per pair, "
        f"{_POOLING[recipe.pooling or 'last']}, "
        f"{len(manifest.golden)} golden scores ({manifest.made_with})"
    )
    for check in imported.checks:
        console.print(f"{check.dtype}: {check.fidelity}; not seen: {check.undetectable}")
    for warning in imported.checks[0].warnings:
        console.print(f"warning: {warning}")


@model.command()
def synth(
    output: Annotated[Path, typer.Option(help="Output directory; it must be empty or not exist yet.")],
    shape: Annotated[
        str,
        typer.Option(
            help="Model shape: 12x576, llama-3.1-8b, rankllama-13b, qwen3-reranker-0.6b, zerank-1-small, "
            "mxbai-rerank-base-v2, bge-reranker-v2-gemma, ettin-32m, modernbert-base, monot5-base or monot5-3b."
        ),
    ] = "12x576",
    seed: Annotated[int, typer.Option(help="Random seed of the weights.")] = 0,
    dtype: Annotated[str, typer.Option(help="Dtype of the weights: bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Write a checkpoint of random weights in the shape of a real one, for benchmarks.

    It runs as fast as the real one; its scores mean nothing. Weights are written shard by shard: llama-3.1-8b takes
    15 GB of disk and 1 GB of memory.

    Example: `reranker model synth --shape llama-3.1-8b --output synth-8b`
    """
    from rich.console import Console

    from cluster.bench.synthetic import write_synthetic

    console = Console(stderr=True)
    weights_bytes = write_synthetic(shape, output, console, seed=seed, dtype=dtype)
    console.print(f"{output}: {weights_bytes / 1e9:.2f} GB of random weights, shape {shape}, seed {seed}")
