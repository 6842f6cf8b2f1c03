"""Serve's own processes die under a steady load."""

import time

import pytest

from cluster.local.processes import Session
from tests.faults import victims
from tests.faults.graph import Graph
from tests.faults.load import Load
from tests.faults.results import Results

pytestmark = pytest.mark.slow

# What a client sees of a proxy that is gone: it must connect again, and send again.
OF_THE_CONNECTION = {"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}


def test_the_controller_is_killed(graph: Graph, head: Session, load: Load, results: Results) -> None:
    pids = {name: graph.pids(name) for name in ("Gateway", "Tokenizer", "Scorer")}
    (controller,) = victims.named([head], victims.CONTROLLER)
    with load:
        load.wait_for(10)
        victims.kill(controller)
        whole_s = graph.until_whole(without=[controller])
        load.wait_for(50)
    results.add("controller killed", load, whole_s, "until it answers again")
    assert load.failed == []
    assert len(load.orders) == 1
    assert {name: graph.pids(name) for name in pids} == pids, "the new one takes over what runs"
    assert victims.named([head], victims.CONTROLLER) not in ([], [controller])


def test_the_proxy_is_killed(graph: Graph, head: Session, load: Load, results: Results) -> None:
    """Only the connection fails, and a client that asks again is served once a new proxy listens."""
    (proxy,) = victims.named([head], victims.PROXY)
    with load:
        load.wait_for(10)
        killed_s = time.monotonic()
        victims.kill(proxy)
        deadline = killed_s + 120
        while time.monotonic() < deadline and not _served_since(load, killed_s + 1):
            time.sleep(0.1)
        load.wait_for(20)
    back_s = max(answer.sent_s for answer in load.failed) - killed_s
    results.add("proxy killed", load, None, f"connections refused for {back_s:.1f} s")
    assert {answer.outcome for answer in load.failed} <= OF_THE_CONNECTION
    assert load.answers[-1].outcome == 200
    assert len(load.orders) == 1


def _served_since(load: Load, since_s: float) -> bool:
    return any(answer.outcome == 200 and answer.sent_s > since_s for answer in load.answers)
