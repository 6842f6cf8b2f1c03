"""Serve's own processes die under a steady load."""

import time

import pytest

from cluster.local.processes import Session
from tests.faults import victims
from tests.faults.graph import Graph
from tests.faults.load import Load
from tests.faults.nodes import HAPROXY
from tests.faults.results import Results

pytestmark = pytest.mark.slow

# What a client sees when its proxy dies: it has to reconnect and send again. An HAProxy that has just started has no
# routes yet.
CONNECTION_ERRORS: set[str | int] = {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}
NO_ROUTE_YET: set[str | int] = {404} if HAPROXY else set()


def test_no_request_fails_when_the_controller_is_killed(
    graph: Graph, head: Session, load: Load, results: Results
) -> None:
    pids = {name: graph.pids(name) for name in ("Gateway", "Tokenizer", "Scorer")}
    (controller,) = victims.named([head], victims.CONTROLLER)
    with load:
        load.wait_for(10)
        victims.kill(controller)
        recovered_s = graph.wait_until_running(without=[controller])
        load.wait_for(50)
    results.add("controller killed", load, recovered_s, "until it answers again")
    assert load.failed == []
    assert len(load.orders) == 1
    assert {name: graph.pids(name) for name in pids} == pids, "the new controller adopts the running replicas"
    assert victims.named([head], victims.CONTROLLER) not in ([], [controller])


def test_requests_fail_to_connect_only_while_the_proxy_is_down(
    graph: Graph, head: Session, load: Load, results: Results
) -> None:
    """Only connections fail, and a client that sends again is served once a new proxy listens."""
    (proxy,) = victims.proxies([head])
    with load:
        load.wait_for(10)
        killed_s = time.monotonic()
        victims.kill(proxy)
        deadline = killed_s + 120
        while time.monotonic() < deadline and not _served_since(load, killed_s + 1):
            time.sleep(0.1)
        load.wait_for(20)
    down_s = max(answer.sent_s for answer in load.failed) - killed_s
    results.add("proxy killed", load, None, f"connections refused for {down_s:.1f} s")
    assert {answer.outcome for answer in load.failed} <= CONNECTION_ERRORS | NO_ROUTE_YET
    assert load.answers[-1].outcome == 200
    assert len(load.orders) == 1


def _served_since(load: Load, since_s: float) -> bool:
    return any(answer.outcome == 200 and answer.sent_s > since_s for answer in load.answers)
