"""Start or find the servers, run the scenarios on them, and collect the figures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.bench.http.context import Bench, Outcome
from cluster.bench.http.engine_baseline import EngineBaseline
from cluster.bench.http.ingress import INGRESSES, environment_of
from cluster.bench.http.scenarios import SCENARIOS
from cluster.bench.http.settings import HttpBenchSettings
from cluster.bench.http.targets import OURS, Dialect, Target, connect
from cluster.bench.http.texts import Texts
from cluster.bench.machine import machine_facts
from cluster.bench.picture import save_rows
from cluster.bench.report import Figures, print_machine
from cluster.keys import add_key
from cluster.local.graph import local_graph
from reranker.settings import CheckpointSettings, ScorerSettings

_ROW_HEIGHT_IN = 3.3
_PORTS = 200  # between two servers: the second half is for their gateways


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers to measure. url: a running server of this project; None starts the laptop graph with `args`.

    ingresses: names of INGRESSES; a graph is started for each, the first on `port`. peers: the dialect and URL of
    each running peer.
    """

    url: str | None
    args: Mapping[str, Any]
    ingresses: Sequence[str]
    peers: Sequence[tuple[Dialect, str]]
    port: int


def measure_http(
    settings: HttpBenchSettings, scenarios: Sequence[str], servers: Servers, console: Console, picture: Path | None
) -> Figures:
    """Run the scenarios, print their tables, draw the picture. Raises Unavailable for a server that does not work."""
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as stack:
        peers = [connect(dialect.name, url, dialect) for dialect, url in servers.peers]
        console.print("preparing texts")
        texts = Texts(settings.seed)
        targets = [*_ours(servers, settings.keys, stack, console), *peers]
        engine = None if servers.url else stack.enter_context(_engine_baseline(servers.args))
        bench = Bench(settings, targets, texts, engine, console)
        for scenario in scenarios:
            outcomes[scenario] = SCENARIOS[scenario].measure(bench)
    result: Figures = {
        "machine": machine_facts("cpu"),
        "settings": settings.model_dump(),
        "graph": None if servers.url else dict(servers.args),
        "targets": [{"name": target.name, "url": target.url, "speaks": target.dialect.name} for target in targets],
        "scenarios": {scenario: outcome.figures for scenario, outcome in outcomes.items()},
    }
    for scenario, outcome in outcomes.items():
        SCENARIOS[scenario].report(outcome.figures, console)
    print_machine(console, result["machine"])
    if picture is not None:
        panels = [SCENARIOS[scenario].panels(outcome).items() for scenario, outcome in outcomes.items()]
        save_rows(picture, _ROW_HEIGHT_IN, dict(chain.from_iterable(panels)))
        console.print(f"picture: {picture}", markup=False)
    return result


def _ours(servers: Servers, keys: int, stack: ExitStack, console: Console) -> list[Target]:
    if servers.url is not None:
        return [connect("reranker", servers.url, OURS)]
    args, accepted = dict(servers.args), list[str]()
    if keys:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reranker-bench-"))) / "keys.json"
        accepted = [add_key(file, f"bench-{number}") for number in range(keys)]
        args["auth"] = {**args.get("auth", {}), "keys_file": str(file)}
    targets = []
    for number, ingress in enumerate(servers.ingresses):
        port = servers.port + number * _PORTS
        replica_port = port + _PORTS // 2
        environment = environment_of(ingress, replica_port)
        graph = stack.enter_context(local_graph(console, args, port=port, environment=environment))
        targets.append(connect(INGRESSES[ingress], graph.url, OURS, graph.process, accepted))
        if ingress == "throughput":
            direct = f"http://127.0.0.1:{replica_port}"
            targets.append(connect("throughput mode, no proxy", direct, OURS, graph.process, accepted))
    return targets


def _engine_baseline(args: Mapping[str, Any]) -> EngineBaseline:
    """The engine with the started graph's settings; the laptop graph's device is the CPU."""
    fields = {name: value for name, value in args.items() if name in CheckpointSettings.model_fields}
    return EngineBaseline(
        CheckpointSettings.model_validate({"device": "cpu", **fields}),
        ScorerSettings.model_validate(args.get("engine", {})),
    )
