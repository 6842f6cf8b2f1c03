"""`reranker model`: prepare checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.options import MaxPairTokens, Revision, Template

model = typer.Typer(help="Prepare checkpoints.", no_args_is_help=True)


@model.callback()
def root() -> None:
    """Prepare checkpoints."""


@model.command("import")
def import_model(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A checkpoint or adapter directory, or a hub id.")],
    output: Annotated[Path, typer.Option(help="A directory that is empty or does not exist yet.")],
    template: Template = "auto",
    max_pair_tokens: MaxPairTokens = None,
    revision: Revision = None,
) -> None:
    """Copy a checkpoint and write its golden scores, computed by Hugging Face in float32 and bfloat16.

    Every replica that serves OUTPUT replays them first, and refuses to serve if they differ. Needs memory for the
    weights in float32.

    Example: `reranker model import cross-encoder/ms-marco-MiniLM-L6-v2 --output minilm --template bare`
    """
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"scoring golden pairs with {source} in Hugging Face …"):
        from reranker.checkpoints.importing import import_checkpoint
        from reranker.settings import CheckpointSettings

        manifest = import_checkpoint(
            CheckpointSettings.model_validate(
                {"model": source, "revision": revision, "template": template, "max_pair_tokens": max_pair_tokens}
            ),
            output,
        )
    console.print(
        f"{output}: template {manifest.template}, {manifest.max_pair_tokens} tokens a pair, "
        f"{len(manifest.golden)} golden scores ({manifest.made_with})"
    )


@model.command()
def synth(
    output: Annotated[Path, typer.Option(help="A directory that is empty or does not exist yet.")],
    shape: Annotated[str, typer.Option(help="12x576, llama-3.1-8b or rankllama-13b.")] = "12x576",
    seed: Annotated[int, typer.Option(help="Another seed, other weights.")] = 0,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Write a checkpoint of random weights in the shape of a real one, for benchmarks.

    Its scores mean nothing, its speed is that of the real one. Written shard by shard: the 15 GB of llama-3.1-8b
    need the disk, and memory for one shard of 1 GB.

    Example: `reranker model synth --shape llama-3.1-8b --output synth-8b`
    """
    from rich.console import Console

    from cluster.bench.synthetic import write_synthetic

    console = Console(stderr=True)
    weights_bytes = write_synthetic(shape, output, console, seed=seed, dtype=dtype)
    console.print(f"{output}: {weights_bytes / 1e9:.2f} GB of random weights, shape {shape}, seed {seed}")
