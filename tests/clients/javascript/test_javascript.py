"""Clients from npm, each in a process of node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from ranking import DOCUMENTS, KEY, MODEL, QUERY, Hit, check

HERE = Path(__file__).parent
NAMES = [
    "cohere-ai v1",
    "cohere-ai v2",
    "voyageai",
    "together-ai",
    "@mixedbread/sdk",
    "zeroentropy",
    "@ai-sdk/cohere",
    "@ai-sdk/togetherai",
    "voyage-ai-provider",
    "@langchain/cohere",
]

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="no node, or no packages: install node and npm, then `make test-clients` installs them",
)


@pytest.mark.parametrize("name", NAMES)
def test_javascript_client_ranks(name: str, url: str) -> None:
    asked = json.dumps({"query": QUERY, "documents": DOCUMENTS, "model": MODEL, "key": KEY})
    command = ["node", "clients.mjs", name, url]
    done = subprocess.run(command, cwd=HERE, input=asked, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    check([Hit(*hit) for hit in json.loads(done.stdout)])
