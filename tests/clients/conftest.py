"""The endpoint that the clients speak to: the whole graph without Ray, in the environment of this project.

RERANKER_PYTHON is that environment's Python, by default `.venv/bin/python`; the clients have an environment of their
own, because some of them want other versions of what this project uses.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
START_S = 120

# No client may look for the real service, or for a model.
os.environ |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
os.environ |= {"NO_PROXY": "127.0.0.1", "HAYSTACK_TELEMETRY_ENABLED": "False"}


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = os.environ.get("RERANKER_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    server = subprocess.Popen([python, "-m", "tests.deployments.in_process", str(port)], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + START_S
        while not _answers(address):
            if server.poll() is not None or time.monotonic() > end:
                pytest.exit(f"the server did not start: {python}", returncode=2)
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(START_S)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
