"""schemathesis, with all its checks, over our own OpenAPI document: thousands of generated requests, no finding.

It is the extra `contract`, in no lock: `pip install "dear-reranker[contract]"`.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from deployments.http.routes import build_http
from reranker.settings import LimitsSettings
from tests.deployments.http.services import FakeService

pytestmark = pytest.mark.slow
pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'dear-reranker[contract]'")

LEAST_CASES = 5_000
HOOKS = "tests.deployments.http.contract_hooks"


@pytest.fixture
def url() -> Iterator[str]:
    app = build_http(FakeService(), LimitsSettings())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", "all"]
    command += [
        "--max-examples",
        "50",
        "--continue-on-failure",
        "--suppress-health-check",
        "all",
        "--warnings",
        "off",
    ]
    root = str(Path(__file__).parents[3])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": paths}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=900)
    lines = [line[:400] for line in run.stdout.splitlines()]  # without the bodies of its examples
    assert run.returncode == 0, "\n".join(lines) + run.stderr[-2_000:]
    cases = re.search(r"(\d+) generated", run.stdout)
    assert cases is not None
    assert int(cases[1]) >= LEAST_CASES
