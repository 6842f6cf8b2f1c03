"""Adapt the production config to this machine, list what that changes, and deploy it.

Knows nothing of nodes: it takes a config and the address of a Ray cluster.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.local import nodes, processes
from cluster.local.state import StateDirectory
from reranker.errors import Unavailable

APPLICATION, SCORER = "reranker", "Scorer"
_DEPLOY_TIMEOUT_S = 120
Config = dict[str, Any]


def local_config(production: Config, *, model: Path, replicas: int, port: int) -> Config:
    """The production config with another model, on CPUs, with one proxy and a fixed number of scorers.

    One proxy, because all nodes share this machine's ports.
    """
    config = copy.deepcopy(production)
    config["proxy_location"] = "HeadOnly"
    config["http_options"]["port"] = port
    application = _entry(config["applications"], APPLICATION)
    application["args"] |= {"model": str(model), "device": "cpu"}
    scorer = _entry(application["deployments"], SCORER)
    scorer["autoscaling_config"] |= {"min_replicas": replicas, "max_replicas": replicas}
    return config


def differences(before: Config, after: Config) -> list[tuple[str, str, str]]:
    """(path, before, after) of every value that differs."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        (path, str(old.get(path, "")), str(new.get(path, "")))
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]


def deploy(config: Config, directory: StateDirectory, gcs: str) -> None:
    """Run `serve run --non-blocking`: like `serve deploy`, but without a dashboard, which takes hundreds of MB.

    Raises Unavailable when Serve does not accept the config.
    """
    path, log = directory.config, directory.log("deploy")
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command: list[str | Path] = [
        *(Path(sys.executable).with_name("serve"), "run", "--non-blocking"),
        *("--address", gcs, path),
    ]
    process = processes.start(command, log, nodes.environment(directory))
    session = processes.session_of(process)
    try:
        process.wait(_DEPLOY_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        problem = f"`serve run` took longer than {_DEPLOY_TIMEOUT_S} s to deploy {path}"
        raise Unavailable(f"{problem}; {processes.tail(log)}") from None
    finally:
        processes.kill([session])
    if process.returncode or "Submitted deploy config successfully" not in log.read_text(errors="replace"):
        raise Unavailable(f"`serve run` did not deploy {path}; {processes.tail(log)}")


def _entry(entries: list[Config], name: str) -> Config:
    return next(entry for entry in entries if entry["name"] == name)


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """(path, value) of every scalar; list entries are addressed by their `name`, if they have one."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            name = child.get("name", number) if isinstance(child, dict) else number
            yield from _leaves(child, f"{path}.{name}")
    else:
        yield path, value
