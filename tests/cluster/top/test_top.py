"""`reranker top` in a terminal and in a pipe, at an endpoint that answers, refuses, goes away or is none."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from cluster.top.endpoint import Endpoint
from cluster.top.figures import History
from cluster.top.view import View
from reranker.errors import InvalidField, Unavailable
from tests.cluster.conftest import Shell
from tests.cluster.top.endpoints import FakeEndpoint, gateway, running

AWAY = "http://127.0.0.1:9"
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import cluster.__main__"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with running(FakeEndpoint([gateway()])) as endpoint:
        yield endpoint


def shown(endpoint: FakeEndpoint, looks: int = 2) -> str:
    """The view at 80 columns."""
    console = Console(width=80, record=True, file=io.StringIO())
    history = History()
    with Endpoint(endpoint.url) as asked:
        for _ in range(looks):
            history.add(asked.scrape())
        console.print(View(asked.url).show(history.figures(), asked.health()))
    return console.export_text()


def test_view_fits_80_columns_and_says_whose_figures_these_are(endpoint: FakeEndpoint) -> None:
    text = shown(endpoint)
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in ("pairs/s", "backlog", "queue wait", "request time", "429/s", "verified: 48"))
    assert "of the only gateway" in text


def test_view_of_several_gateways_says_how_many_were_met() -> None:
    gateways = [gateway("a"), gateway("b")]
    for metrics in gateways:
        metrics._running.labels("gateway").set(3)  # set by `observe`, from a fleet
    with running(FakeEndpoint(gateways)) as endpoint:
        assert "of 2 of 3 gateways" in shown(endpoint, looks=4)


def test_what_an_endpoint_says_of_itself_cannot_steer_the_terminal(endpoint: FakeEndpoint) -> None:
    endpoint.health = {"model": "\x1b[2J[red]evil[/red]\n\u202e", "problem": "x\r\x07"}
    text = shown(endpoint)
    assert "?[2J[red]evil[/red]??" in text
    assert not {"\x1b", "\r", "\x07", "\u202e"} & set(text)


def test_once_in_json_is_one_document(shell: Shell, endpoint: FakeEndpoint) -> None:
    code, out, err = shell("top", endpoint.url + "/", "--once", "--json", "--interval", "0.1")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["url"] == endpoint.url
    assert found["requests_per_s"] > 0
    assert found["pairs_per_s"] == pytest.approx(4 * found["requests_per_s"])
    assert found["health"]["model"] == "embedded"


def test_endpoint_of_this_machine_is_asked_past_a_proxy(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", AWAY)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Endpoint(endpoint.url) as asked:
        assert asked.scrape().values


def test_key_is_sent_and_one_that_is_refused_is_one_line(endpoint: FakeEndpoint) -> None:
    endpoint.key = "rrk_admin"
    with Endpoint(endpoint.url, "rrk_admin") as asked:
        asked.scrape()
    with Endpoint(endpoint.url, "rrk_other") as asked, pytest.raises(InvalidField, match="role admin") as caught:
        asked.scrape()
    assert "rrk_other" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://host", "http://", "http://[::1", "http://host:99999", "http://a b", "http://a?b"],
)
def test_what_is_no_url_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(InvalidField, match="is no address of an endpoint"):
        Endpoint(url)


def test_endpoint_without_our_metrics_is_named(endpoint: FakeEndpoint) -> None:
    with Endpoint(f"{endpoint.url}/v1") as asked, pytest.raises(InvalidField, match="has no metrics of a reranker"):
        asked.scrape()


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (["nowhere"], 2, "URL: 'nowhere' is no address"),
        ([AWAY], 1, f"{AWAY} does not answer"),
        ([AWAY, "--api-key", "ä"], 2, "--api-key: has characters"),
    ],
)
def test_wrong_address_is_one_line_and_an_exit_code(shell: Shell, args: list[str], code: int, complaint: str) -> None:
    got, out, err = shell("top", *args)
    assert (got, out) == (code, "")
    assert err.startswith(f"reranker: {complaint}")
    assert err.count("\n") == 1


def test_endpoint_that_is_away_may_come_back(endpoint: FakeEndpoint) -> None:
    with Endpoint(AWAY) as asked, pytest.raises(Unavailable):
        asked.scrape()
    view = View(endpoint.url)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(view.away("no answer", 7.0, None, {}))
    assert "no answer for 7 s, trying again" in captured.get()


def test_terminal_shows_snapshots_and_a_missing_endpoint_until_it_is_interrupted(endpoint: FakeEndpoint) -> None:
    for url, awaited in ((endpoint.url, b"pairs/s"), (AWAY, b"trying again")):
        main, side = pty.openpty()
        command = [sys.executable, "-c", INTERRUPTIBLE, "top", url, "--interval", "0.1"]
        environment = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
        with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environment) as process:
            os.close(side)
            seen = b""
            while awaited not in seen:
                seen += os.read(main, 65_536)
            process.send_signal(signal.SIGINT)
            while True:
                try:
                    if not (more := os.read(main, 65_536)):
                        break
                except OSError:  # the other side is closed
                    break
                seen += more
            assert process.wait(20) == 0
        os.close(main)
        assert b"Traceback" not in seen
