"""`reranker bench train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster.bench.training.settings import TrainBenchSettings
from cluster.cli.options import MODEL_PANEL, Json, names_in, options_of, reported

_OPTIONS = {
    "Options": ("queries", "candidates", "batch_pairs", "rounds", "threads", "seed"),
    MODEL_PANEL: ("model", "dtype", "device"),
}


@options_of(TrainBenchSettings, _OPTIONS)
def train(
    options: dict[str, Any],
    peers: Annotated[
        str, typer.Option(help="Comma-separated peers: any of padded and crossencoder-trainer; '' for none.")
    ] = "padded,crossencoder-trainer",
    json_path: Json = None,
) -> None:
    """Compare the speed of training steps with the same steps with padding, a peer, and the machine's limit.

    A round is one optimizer step of every contender over the same fresh texts, with RankNet. `crossencoder-trainer`
    has its own virtual environment, as the peers of `bench engine` have; `padded` needs none.

    Example: `reranker bench train --threads 2 --json train.json`
    """
    from cluster.bench.training.contenders import PACKED, PEERS
    from cluster.bench.training.measure import measure_training

    chosen = [PEERS[name] for name in names_in("--peers", peers, PEERS)]
    settings = TrainBenchSettings.model_validate(options)
    result = reported(lambda console: measure_training(settings, chosen, console), json_path)
    if any(row["name"] == PACKED.name for row in result["failed"]):
        raise typer.Exit(1)
