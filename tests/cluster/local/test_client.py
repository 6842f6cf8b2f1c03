"""Clients of a graph on this machine, on a real server."""

import pytest

from cluster.local.client import is_ready
from tests.servers import Answer, http_server


def test_graph_on_this_machine_is_asked_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda asked: Answer(200 if asked.path == "/ready" else 404)) as url:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        assert is_ready(url)
        assert not is_ready(f"{url}/other")
    assert not is_ready(url)
