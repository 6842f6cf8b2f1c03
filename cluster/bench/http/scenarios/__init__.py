"""The scenarios by name. Each takes all contenders, in turns where they are compared, and returns its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cluster.bench.http.context import Bench, Outcome
from cluster.bench.http.scenarios.mixed import mixed
from cluster.bench.http.scenarios.overhead import overhead
from cluster.bench.http.scenarios.overload import overload
from cluster.bench.http.scenarios.soak import soak
from cluster.bench.http.scenarios.throughput import throughput

SCENARIOS: Mapping[str, Callable[[Bench], Outcome]] = MappingProxyType(
    {"overhead": overhead, "throughput": throughput, "mixed": mixed, "overload": overload, "soak": soak}
)
