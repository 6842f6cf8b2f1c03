"""The laptop graph: in processes of its own, or run by this one; stopped by an interrupt.

For the demo, the benchmarks and the tests. Knows the graph only as a config file and a URL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from rich.console import Console

from cluster.configs import LAPTOP
from cluster.local import processes
from cluster.local.client import is_ready
from cluster.local.environment import serve_environment
from cluster.local.host import check_port
from reranker.errors import Unavailable

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 60
# -P: a package `cluster` in the working directory is not ours.
_SERVER = (sys.executable, "-P", "-c", "from cluster.local.server import main; main()")


@dataclass(frozen=True, slots=True)
class LocalGraph:
    """process: pid of the ancestor of all processes of the graph."""

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
    check_port(port)
    with tempfile.TemporaryDirectory(prefix="reranker-graph-") as scratch:
        config, log = Path(scratch, "serve.yaml"), Path(scratch, "serve.log")
        config.write_text(yaml.safe_dump(_config(args, port)))
        process = processes.start(
            [*_SERVER, config],
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


def serve_in_foreground(args: Mapping[str, Any], port: int, console: Console) -> None:
    """Run the graph until it is interrupted.

    args and port: as for `local_graph`. Raises Unavailable when the port is taken, and as `build_app` does.
    """
    check_port(port)
    os.environ.update(serve_environment())  # before Serve is imported, which reads them then
    from cluster.local.server import serve_until_interrupted

    url = f"http://127.0.0.1:{port}"

    def say_when_ready() -> None:
        while not is_ready(url):
            time.sleep(0.3)
        console.print(f"ready at {url}: /docs, /playground, /health; Ctrl-C stops it")

    def submitted() -> None:
        console.print("the replicas are starting …")
        threading.Thread(target=say_when_ready, daemon=True).start()

    console.print("starting Ray and Serve …")
    serve_until_interrupted(_config(args, port), submitted)


def _config(args: Mapping[str, Any], port: int) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(LAPTOP.read_text("utf-8"))
    config["http_options"]["port"] = port
    config["applications"][0]["args"] |= dict(args)
    return config


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"the graph's process exited with {process.returncode}; {processes.tail(log)}")
        if is_ready(url):
            return
        time.sleep(0.3)
    raise Unavailable(f"the graph was not ready within {START_TIMEOUT_S} s; {processes.tail(log)}")


def _stop(process: subprocess.Popen[bytes], session: processes.Session) -> None:
    """Interrupt it, so that Serve and Ray shut down in order; kill its session if that takes too long."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        processes.kill([session])
        process.wait()
