"""The scenarios by name. Each file has one: its measurement, its table and its panels of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cluster.bench.http.context import Scenario
from cluster.bench.http.scenarios.flood import FLOOD
from cluster.bench.http.scenarios.hostile import HOSTILE
from cluster.bench.http.scenarios.mixed import MIXED
from cluster.bench.http.scenarios.overhead import OVERHEAD
from cluster.bench.http.scenarios.overload import OVERLOAD
from cluster.bench.http.scenarios.soak import SOAK
from cluster.bench.http.scenarios.throughput import THROUGHPUT

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "overhead": OVERHEAD,
        "throughput": THROUGHPUT,
        "mixed": MIXED,
        "overload": OVERLOAD,
        "flood": FLOOD,
        "hostile": HOSTILE,
        "soak": SOAK,
    }
)
