"""`reranker bench http`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.bench import SIMULATED_TOKENS_PER_S
from cluster.bench.http.settings import HttpBenchSettings
from cluster.cli.options import Json, Model, names_in, options_of, reported
from reranker.errors import InvalidField

_SERVERS = "Servers"
_LOAD = (
    "rounds",
    "seconds",
    "requests",
    "clients",
    "documents",
    "factor",
    "flood_share",
    "rate",
    "mix",
    "keys",
    "in_time_s",
    "seed",
)


@options_of(HttpBenchSettings, {"Load": _LOAD})
def http(
    options: dict[str, Any],
    url: Annotated[
        str | None,
        typer.Option(
            help="Base URL of a running server of this project; by default the benchmark starts one.",
            rich_help_panel=_SERVERS,
        ),
    ] = None,
    model: Model = "embedded",
    simulated_tokens_per_s: Annotated[
        float,
        typer.Option(
            min=0,
            help="Speed of a simulated GPU: the started server sleeps instead of scoring. 0 runs the model.",
            rich_help_panel=_SERVERS,
        ),
    ] = SIMULATED_TOKENS_PER_S,
    graph_args: Annotated[
        str,
        typer.Option(
            help="JSON object of further arguments of the started server, as in `args:` of its config file.",
            rich_help_panel=_SERVERS,
        ),
    ] = "{}",
    ingress: Annotated[
        str,
        typer.Option(
            help="Comma-separated ways into the started servers, one server each: default, Serve's own proxy; "
            "throughput, its throughput mode, with and without its proxy; haproxy, as serve.haproxy.env sets it.",
            rich_help_panel=_SERVERS,
        ),
    ] = "default",
    peer: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Also measure a running peer: tei, vllm or infinity, and its base URL.",
            metavar="NAME URL",
            rich_help_panel=_SERVERS,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            help="Port on 127.0.0.1 of the first started server; some that follow are used as well.",
            rich_help_panel=_SERVERS,
        ),
    ] = 8200,
    scenario: Annotated[
        str,
        typer.Option(help="Comma-separated scenarios, those listed above."),
    ] = "overhead,throughput,mixed,overload",
    picture: Annotated[Path | None, typer.Option(help="Draw all scenarios into this PNG file.")] = None,
    json_path: Json = None,
) -> None:
    """Measure the HTTP endpoint under load, optionally compared with a peer.

    - overhead: latency of one client with one document per request, compared with the engine alone
    - throughput: documents/s of many clients, compared with the engine alone
    - mixed: latency of small requests while large ones run
    - overload: far more load than the maximum; how much is answered in time, and how accurate Retry-After is
    - flood: latency of the requests of some API keys while another sends far more than the maximum
    - hostile: latency of small requests while clients send bodies made to hurt, and memory
    - soak: minutes of steady load; whether memory grows

    In overload, flood and soak, requests start at random times (a Poisson process), whether or not earlier ones were
    answered, and latency counts from the intended start.

    Example: `reranker bench http --scenario overload --seconds 120 --picture overload.png`
    """
    from cluster.bench.http.arrivals import parse_mix
    from cluster.bench.http.ingress import INGRESSES, check
    from cluster.bench.http.measure import Servers, measure_http
    from cluster.bench.http.scenarios import SCENARIOS
    from cluster.bench.http.targets import dialect_of_peer

    chosen = names_in("--scenario", scenario, SCENARIOS)
    settings = HttpBenchSettings.model_validate(options)
    parse_mix("--mix", settings.mix)
    ingresses = names_in("--ingress", ingress, INGRESSES) or ["default"]
    for name in ingresses:
        check(name)
    if url is not None and ingresses != ["default"]:
        raise InvalidField("--ingress", "is of started servers, and --url names a running one: leave one of them out")
    if "flood" in chosen and settings.keys < 2:
        raise InvalidField("--keys", f"flood needs one key that floods and others, got {settings.keys}: try 100")
    if "hostile" in chosen and settings.keys:
        raise InvalidField("--keys", "the clients of hostile have none: leave --keys out, or run hostile alone")
    servers = Servers(
        url=url,
        args=_graph_args(model, simulated_tokens_per_s, graph_args),
        ingresses=ingresses,
        peers=[] if peer is None else [(dialect_of_peer(peer[0]), peer[1])],
        port=port,
    )
    reported(lambda console: measure_http(settings, chosen, servers, console, picture), json_path)


def _graph_args(model: str, simulated_tokens_per_s: float, further: str) -> dict[str, Any]:
    """Application arguments of the started server. Raises InvalidField."""
    try:
        args = json.loads(further)
    except ValueError as error:
        raise InvalidField("--graph-args", f"is not JSON: {error}") from None
    if not isinstance(args, dict) or not isinstance(args.get("engine", {}), dict):
        raise InvalidField("--graph-args", f"must be a JSON object, got {further!r}")
    engine = args.get("engine", {})
    if simulated_tokens_per_s:
        engine = {"simulated_tokens_per_s": simulated_tokens_per_s} | engine
    return {"model": model, **args, "engine": engine}
