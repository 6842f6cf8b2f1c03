"""The warning about Ray's open ports: only for Ray's processes, beyond loopback, without a token."""

import os
import socket

import psutil
import pytest

from deployments.ray_ports import Listener, listeners, warn_of_open_ports

OPEN = [Listener("gcs_server", "0.0.0.0", 6379), Listener("raylet", "::", 10_001), Listener("raylet", "10.0.0.1", 7)]  # noqa: S104
CLOSED = [
    Listener("gcs_server", "127.0.0.1", 6379),
    Listener("raylet", "::1", 10_001),
    Listener("ray::ProxyActor", "10.0.0.1", 8000),  # the endpoint itself
    Listener("nginx", "0.0.0.0", 443),  # noqa: S104
    Listener("", "0.0.0.0", 22),  # noqa: S104
]


def test_open_ports_are_named_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_open_ports(lambda: OPEN + CLOSED, {})
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "Ray listens beyond loopback without a token (gcs_server 6379, raylet 10001, raylet 7): "
    )


@pytest.mark.parametrize(
    ("found", "environment"),
    [(CLOSED, {}), ([], {}), (OPEN, {"RAY_AUTH_MODE": "token"})],
    ids=["closed", "none", "token"],
)
def test_nothing_is_said_of_closed_ports_or_with_a_token(
    found: list[Listener], environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_open_ports(lambda: found, environment)
    assert caplog.records == []


def test_sockets_of_this_machine_are_found_with_their_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = psutil.Process(os.getpid()).name()
        assert Listener(program, *server.getsockname()) in listeners()
