"""The variables of serve.env, for processes that start Ray and Serve from Python."""

from __future__ import annotations

from cluster.configs import ENVIRONMENT


def serve_environment() -> dict[str, str]:
    lines = (line.strip() for line in ENVIRONMENT.read_text("utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
