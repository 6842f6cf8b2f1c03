"""`reranker train`: training sets, teachers, runs and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.train_data import data, teacher

train = typer.Typer(help="Train a reranker on queries of your own.", no_args_is_help=True)
train.command("data")(data)
train.command("teacher")(teacher)


@train.callback()
def root() -> None:
    """Train a reranker on queries of your own."""


@train.command("run")
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings of the run.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an unfinished run from its last checkpoint.")
    ] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, such as step.steps=100; repeatable."),
    ] = None,
) -> None:
    """Train as a config file says, with Ray Train or, with `local: true`, in this process.

    Writes OUTPUT/model (a checkpoint with golden scores and a model card), OUTPUT/curve.csv, OUTPUT/curve.png, and
    last OUTPUT/summary.json. `reranker config print train-embedded` prints a config to begin with.

    Example: `reranker train run mine.yaml --set step.steps=500`
    """
    from rich.console import Console

    from cluster.training.settings import read_run_settings

    console = Console(stderr=True)
    settings = read_run_settings(config, changes or ())
    from cluster.training.run import train as train_model

    summary = train_model(settings, console, resume=resume)
    measured = "" if summary["ndcg"] is None else f", nDCG@10 {summary['ndcg']:.4f} at step {summary['best_step']}"
    console.print(
        f"{summary['model']}: {summary['steps']} steps, {summary['minutes']:.1f} minutes{measured}",
        markup=False,
        highlight=False,
    )


@train.command("average")
def average(
    output: Annotated[Path, typer.Argument(help="Output directory; it must be empty or not exist yet.")],
    models: Annotated[list[Path], typer.Argument(metavar="MODEL…", help="Checkpoints of the same architecture.")],
) -> None:
    """Write the mean of the weights of several checkpoints, which is often better than each of them.

    Made for runs that differ in their seed only. Checkpoints of another shape, tokenizer or template are refused.

    Example: `reranker train average mean run0/model run1/model run2/model`
    """
    from rich.console import Console

    from cluster.training.average import average as mean_of

    console = Console(stderr=True)
    with console.status("averaging …"):
        mean_of(output, models)
    console.print(f"{output}: the mean of {len(models)} checkpoints", markup=False, highlight=False)


@train.command("demo")
def demo(
    output: Annotated[Path, typer.Option(help="Output directory; it must be empty or not exist yet.")] = Path(
        "train-demo"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 20,
) -> None:
    """Train the embedded model for a few steps on the package's small collection, and measure it before and after.

    Needs neither a GPU nor a network; takes a few minutes on two cores.

    Example: `reranker train demo`
    """
    from rich.console import Console

    from cluster.training.demo import run_demo
    from reranker.errors import InvalidFile

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidFile(output, "is not an empty directory: choose another --output, or remove it")
    run_demo(Console(), output, steps=steps)
