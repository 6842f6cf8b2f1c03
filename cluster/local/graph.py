"""The laptop graph, started and stopped as a person would: `serve run` in processes of its own.

For the demo, the benchmarks and the tests. Knows the graph only as a config file and a URL.
"""

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

from reranker.errors import Unavailable

LAPTOP_CONFIG = Path(__file__).parents[2] / "serve_config.laptop.yaml"
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class LocalGraph:
    """process: the id of `serve run`, from which all processes of the graph descend."""

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
    """Yields a graph that is ready; it is stopped on leaving.

    args: what differs from the `args:` of serve_config.laptop.yaml. environment: variables of its processes, for what
    Serve reads from nowhere else. Raises Unavailable with the end of the log when the port is taken or the graph does
    not come up.
    """
    url = f"http://127.0.0.1:{port}"
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(url, timeout=1)
        raise Unavailable(f"something answers on port {port} already: stop it, or choose another port")
    config = yaml.safe_load(LAPTOP_CONFIG.read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"] |= dict(args)
    with tempfile.TemporaryDirectory(prefix="reranker-graph-") as scratch:
        config_path, log_path = Path(scratch, "serve.yaml"), Path(scratch, "serve.log")
        config_path.write_text(yaml.safe_dump(config))
        with log_path.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  (our own config)
                [Path(sys.executable).with_name("serve"), "run", config_path],
                cwd=LAPTOP_CONFIG.parent,
                env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | dict(environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; the graph is stopped in order
            )
        try:
            with console.status("starting the graph: gateway, tokenizer, scorer …"):
                _await_ready(process, url, log_path)
            yield LocalGraph(url, process.pid)
        finally:
            with console.status("stopping the graph …"):
                _stop(process)


def _await_ready(process: "subprocess.Popen[bytes]", url: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/ready", timeout=10).status_code == 200:
                return
        time.sleep(0.3)
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
    raise Unavailable(f"the graph did not come up within {START_TIMEOUT_S} s; its log ends:\n{tail}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """An interrupt first, so that Serve and Ray shut down in order; the process group only if that fails."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
