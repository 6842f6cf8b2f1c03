"""`reranker plan`: how many GPUs, at what price, and what breaks first."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cluster.cli.options import options_of
from cluster.planning.settings import PlanSettings

_OPTIONS = {
    "Load": ("requests_per_s", "documents", "tokens", "query_tokens", "p99_ms", "pairs"),
    "Machines": ("gpu", "gpus", "price_per_hour", "tokens_per_s", "shard_chars"),
    "Model": ("model",),
}


@options_of(PlanSettings, _OPTIONS)
def plan(
    options: dict[str, Any],
    batch: Annotated[bool, typer.Option("--batch", help="Plan a batch job of --pairs on --gpus.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate how many GPUs a load needs, how long requests then take, the cost, and what would break first.

    Nothing is measured here: speeds are a share of the GPUs' peak, which was measured on one H200, or --tokens-per-s.
    With --batch, hours and cost of a job; `reranker batch --dry-run` measures those on its own machines.

    Example: `reranker plan --requests-per-s 10 --documents 100 --tokens 85 --p99-ms 1500 --gpu h100`
    """
    import json

    from cluster.planning.forecast import forecast_job, forecast_service
    from cluster.planning.report import lines, to_json

    settings = PlanSettings.model_validate(options)
    forecast = (forecast_job if batch else forecast_service)(settings)
    if as_json:
        print(json.dumps(to_json(forecast), indent=1))
    else:
        print("\n".join(lines(forecast)))
