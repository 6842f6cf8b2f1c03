"""Memory and CPU time of processes by role."""

import os

from cluster.bench.http.roles import REST, MemorySampler, anonymous_bytes, cpu_seconds, role_of


def test_processes_get_roles_from_their_command_lines() -> None:
    assert role_of("ray::ServeReplica:reranker:Gateway.handle_request") == "gateway"
    assert role_of("ray::ProxyActor") == "proxy"
    assert role_of("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=y") == "raylet"
    assert role_of("/bin/python -u dashboard.py") == REST
    assert sum(anonymous_bytes(os.getpid()).values()) > 10e6
    assert sum(cpu_seconds(os.getpid()).values()) > 0


def test_memory_series_have_only_roles_that_every_sample_has() -> None:
    with MemorySampler(os.getpid(), period_s=0.05) as sampler:
        pass
    assert len(sampler.minutes) == len(sampler.samples) >= 1
    sampler.samples[:] = [{"gateway": 1.0, "scorer": 2.0}, {"gateway": 3.0}]
    assert sampler.series() == {"gateway": [1.0, 3.0], "all": [3.0, 3.0]}
