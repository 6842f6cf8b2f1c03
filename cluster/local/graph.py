"""The laptop graph in processes of its own: started by `serve run`, stopped by an interrupt.

For the demo, the benchmarks and the tests. Knows the graph only as a config file and a URL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import yaml
from rich.console import Console

from cluster.configs import LAPTOP
from cluster.local import processes
from cluster.local.environment import serve_environment
from reranker.errors import Unavailable

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 60
_SERVE_RUN = (Path(sys.executable).with_name("serve"), "run")


@dataclass(frozen=True, slots=True)
class LocalGraph:
    """process: pid of `serve run`, the ancestor of all processes of the graph."""

    url: str
    process: int


@contextlib.contextmanager
def serving(console: Console, *, port: int = 8000, **args: Any) -> Iterator[str]:
    """Yields the URL of a graph that is ready; the rest is as for `local_graph`."""
    with local_graph(console, args, port=port) as graph:
        yield graph.url


@contextlib.contextmanager
def local_graph(
    console: Console,
    args: Mapping[str, Any],
    *,
    port: int,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[LocalGraph]:
    """Yields a graph that is ready, and stops it on exit.

    args: replace entries of `args:` in serve_config.laptop.yaml. environment: extra variables for its processes, for
    settings that Serve reads only there. Raises Unavailable when the port is taken or, with the end of the log, when
    the graph does not start.
    """
    url = f"http://127.0.0.1:{port}"
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(url, timeout=1)
        raise Unavailable(f"port {port} is in use: stop the server there, or choose another port")
    with tempfile.TemporaryDirectory(prefix="reranker-graph-") as scratch:
        config, log = _write_config(Path(scratch), args, port), Path(scratch, "serve.log")
        process = processes.start(
            [*_SERVE_RUN, config],
            log,
            os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | dict(environment),
        )
        session = processes.session_of(process)
        try:
            with console.status("starting the graph: gateway, tokenizer, scorer …"):
                _await_ready(process, url, log)
            yield LocalGraph(url, process.pid)
        finally:
            with console.status("stopping the graph …"):
                _stop(process, session)


def serve_in_foreground(args: Mapping[str, Any], port: int) -> int:
    """Run the graph with its log on this terminal until it is interrupted; returns the exit code of `serve run`.

    args and port: as for `local_graph`.
    """
    with tempfile.TemporaryDirectory(prefix="reranker-graph-") as scratch:
        command: list[str | Path] = [*_SERVE_RUN, _write_config(Path(scratch), args, port)]
        process = subprocess.Popen(command, env=os.environ | serve_environment())  # noqa: S603  (our own config)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the terminal sends it to `serve run` as well, which stops the graph in order
                continue


def _write_config(directory: Path, args: Mapping[str, Any], port: int) -> Path:
    config = yaml.safe_load(LAPTOP.read_text("utf-8"))
    config["http_options"]["port"] = port
    config["applications"][0]["args"] |= dict(args)
    path = directory / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"`serve run` exited with code {process.returncode}; {processes.tail(log)}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/ready", timeout=10).status_code == 200:
                return
        time.sleep(0.3)
    raise Unavailable(f"the graph was not ready within {START_TIMEOUT_S} s; {processes.tail(log)}")


def _stop(process: subprocess.Popen[bytes], session: processes.Session) -> None:
    """Interrupt `serve run`, so that Serve and Ray shut down in order; kill its session if that takes too long."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        processes.kill([session])
        process.wait()
