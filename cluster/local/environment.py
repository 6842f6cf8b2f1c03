"""The variables of serve.env and serve.haproxy.env, for processes that start Ray and Serve from Python."""

from __future__ import annotations

import shlex
from pathlib import Path

from cluster.configs import ENVIRONMENT, HAPROXY


def serve_environment() -> dict[str, str]:
    return _variables(ENVIRONMENT)


def haproxy_environment() -> dict[str, str]:
    """What HAProxy needs beside `serve_environment`."""
    return _variables(HAPROXY)


def _variables(file: Path) -> dict[str, str]:
    """Of a file that a shell can read: NAME=VALUE or NAME='VALUE' in each line, and comments."""
    words = shlex.split(file.read_text("utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words)
