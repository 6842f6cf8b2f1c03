"""`reranker bench http`: options, and where the figures go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.cli.options import Json, Model, reported

_SERVERS, _LOAD = "Servers", "Load"


def http(
    url: Annotated[
        str | None,
        typer.Option(help="A running server of ours; by default the bench starts one.", rich_help_panel=_SERVERS),
    ] = None,
    model: Model = "embedded",
    simulated_tokens_per_s: Annotated[
        float,
        typer.Option(
            min=0,
            help="The started graph only waits as long as a GPU would; 0 runs the model.",
            rich_help_panel=_SERVERS,
        ),
    ] = 40_000.0,
    graph_args: Annotated[
        str, typer.Option(help="More `args:` of the started graph, as JSON.", rich_help_panel=_SERVERS)
    ] = "{}",
    throughput_mode: Annotated[
        bool,
        typer.Option(
            "--throughput-mode", help="A second graph, in Serve's throughput mode.", rich_help_panel=_SERVERS
        ),
    ] = False,
    peer: Annotated[
        tuple[str, str] | None,
        typer.Option(help="tei, vllm or infinity, and its base URL.", metavar="NAME URL", rich_help_panel=_SERVERS),
    ] = None,
    port: Annotated[
        int, typer.Option(help="A free port on 127.0.0.1; the next two as well.", rich_help_panel=_SERVERS)
    ] = 8200,
    scenario: Annotated[
        str, typer.Option(help="Any of overhead, throughput, mixed, overload and soak, with commas.")
    ] = "overhead,throughput,mixed,overload",
    seconds: Annotated[
        float | None,
        typer.Option(help="Of load a run; by default 20, overload 30, soak 300.", rich_help_panel=_LOAD),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="In which contenders take turns.", rich_help_panel=_LOAD)] = 3,
    requests: Annotated[int, typer.Option(min=1, help="Of a round of overhead.", rich_help_panel=_LOAD)] = 200,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests/s of overload and soak; by default from the maximum.", rich_help_panel=_LOAD),
    ] = None,
    factor: Annotated[float, typer.Option(help="Overload, over the unloaded maximum.", rich_help_panel=_LOAD)] = 10.0,
    mix: Annotated[
        str, typer.Option(help="Documents in overload and soak, as in 10:5,100:4,1000:1.", rich_help_panel=_LOAD)
    ] = "100",
    keys: Annotated[
        int,
        typer.Option(min=0, help="API keys that send overload and soak in turns; 0: none.", rich_help_panel=_LOAD),
    ] = 0,
    clients: Annotated[int, typer.Option(min=1, help="Of throughput.", rich_help_panel=_LOAD)] = 16,
    documents: Annotated[int, typer.Option(min=1, help="Of a request in throughput.", rich_help_panel=_LOAD)] = 100,
    in_time: Annotated[
        float,
        typer.Option(help="Seconds from the intended start after which an answer is no use.", rich_help_panel=_LOAD),
    ] = 15.0,
    seed: Annotated[int, typer.Option(min=0, help="Of texts, arrivals and order.", rich_help_panel=_LOAD)] = 0,
    json_path: Json = None,
    picture: Annotated[Path | None, typer.Option(help="Draw them here, as PNG.")] = None,
) -> None:
    """Load on the endpoint: overhead, throughput, small requests beside large ones, overload, memory.

    Overload and soak are open loops: requests start when they are meant to (Poisson), and latency counts from then.

    Example: `reranker bench http --scenario overload --seconds 120 --picture overload.png`
    """
    from cluster.bench.http.arrivals import parse_mix
    from cluster.bench.http.measure import Servers, measure_http
    from cluster.bench.http.peers import peer_named
    from cluster.bench.http.scenarios import SCENARIOS
    from cluster.bench.http.settings import HttpBenchSettings
    from cluster.cli.options import names_in
    from reranker.errors import InvalidField

    chosen = names_in("--scenario", scenario, SCENARIOS)
    parse_mix("--mix", mix)
    if peer is not None:
        peer_named(peer[0])
    if url is not None and throughput_mode:
        raise InvalidField("--throughput-mode", "is for a graph that the bench starts: leave --url out")
    settings = HttpBenchSettings(
        seconds=seconds,
        rounds=rounds,
        requests=requests,
        rate=rate,
        factor=factor,
        mix=mix,
        clients=clients,
        documents=documents,
        keys=keys,
        in_time_s=in_time,
        seed=seed,
    )
    servers = Servers(
        url=url,
        args=_args(model, simulated_tokens_per_s, graph_args),
        throughput_mode=throughput_mode,
        peers=[] if peer is None else [peer],
        port=port,
    )
    reported(lambda console: measure_http(settings, chosen, servers, console, picture), json_path)


def _args(model: str, simulated_tokens_per_s: float, more: str) -> dict[str, Any]:
    """What the started graph gets. Raises InvalidField."""
    import json

    from reranker.errors import InvalidField

    try:
        args = json.loads(more)
    except ValueError as error:
        raise InvalidField("--graph-args", f"is no JSON: {error}") from None
    if not isinstance(args, dict) or not isinstance(args.get("engine", {}), dict):
        raise InvalidField("--graph-args", f"must be an object, got {more!r}")
    engine = args.get("engine", {})
    if simulated_tokens_per_s:
        engine = {"simulated_tokens_per_s": simulated_tokens_per_s} | engine
    return {"model": model, **args, "engine": engine}
