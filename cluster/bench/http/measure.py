"""Start what is to be measured, run the scenarios over it, and put the figures together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.bench.http.context import Bench, Outcome
from cluster.bench.http.engine_baseline import OwnEngine
from cluster.bench.http.peers import OURS, Target, peer_named, reach
from cluster.bench.http.picture import draw
from cluster.bench.http.report import print_report
from cluster.bench.http.scenarios import SCENARIOS
from cluster.bench.http.settings import HttpBenchSettings
from cluster.bench.http.texts import Texts
from cluster.bench.machine import machine_facts
from cluster.local.graph import local_graph
from reranker.settings import CheckpointSettings, EngineSettings

# Serve reads these from the environment alone. The gateway's replica then listens on a port of its own as well.
_THROUGHPUT_MODE = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_PROXY_USE_GRPC": "1"}


@dataclass(frozen=True, slots=True)
class Servers:
    """What is measured. url: a running server of ours; None starts one with `args` over the laptop graph's.

    peers: (name, URL) of others.
    """

    url: str | None
    args: Mapping[str, Any]
    throughput_mode: bool
    peers: Sequence[tuple[str, str]]
    port: int


def measure_http(
    settings: HttpBenchSettings, scenarios: Sequence[str], servers: Servers, console: Console, picture: Path | None
) -> dict[str, Any]:
    """Raises Unavailable for a server that cannot be had."""
    dialects = [(peer_named(name), url) for name, url in servers.peers]  # a wrong name costs no start
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as stack:
        peers = [reach(dialect.name, url, dialect) for dialect, url in dialects]
        console.print("making texts")
        texts = Texts(settings.seed)
        targets = [*_ours(servers, stack, console), *peers]
        engine = None if servers.url else stack.enter_context(_own_engine(servers.args))
        bench = Bench(settings, targets, texts, engine, console)
        for scenario in scenarios:
            outcomes[scenario] = SCENARIOS[scenario](bench)
    result: dict[str, Any] = {
        "machine": machine_facts("cpu"),
        "settings": settings.model_dump(),
        "graph": None if servers.url else dict(servers.args),
        "targets": [{"name": target.name, "url": target.url, "speaks": target.dialect.name} for target in targets],
        "scenarios": {scenario: outcome.figures for scenario, outcome in outcomes.items()},
    }
    print_report(result, console)
    if picture is not None:
        draw(outcomes, settings, picture)
        console.print(f"picture: {picture}")
    return result


def _ours(servers: Servers, stack: ExitStack, console: Console) -> list[Target]:
    if servers.url is not None:
        return [reach("reranker", servers.url, OURS)]
    graph = stack.enter_context(local_graph(console, servers.args, port=servers.port))
    targets = [reach("default mode", graph.url, OURS, graph.process)]
    if servers.throughput_mode:
        replica_port = servers.port + 2
        ports = {
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica_port),
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_port + 100),
        }
        environment = _THROUGHPUT_MODE | ports
        graph = stack.enter_context(
            local_graph(console, servers.args, port=servers.port + 1, environment=environment)
        )
        targets.append(reach("throughput mode", graph.url, OURS, graph.process))
        direct = f"http://127.0.0.1:{replica_port}"
        targets.append(reach("the same, without proxy", direct, OURS, graph.process))
    return targets


def _own_engine(args: Mapping[str, Any]) -> OwnEngine:
    """The graph's own settings; the laptop graph's device is the CPU."""
    fields = {name: value for name, value in args.items() if name in CheckpointSettings.model_fields}
    return OwnEngine(
        CheckpointSettings.model_validate({"device": "cpu", **fields}),
        EngineSettings.model_validate(args.get("engine", {})),
    )
