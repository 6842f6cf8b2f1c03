"""The production config as this machine can run it: what changes, and nothing else.

Knows nothing of nodes: a config file, and the address of a Ray that takes it.
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

PRODUCTION = Path(__file__).parents[2] / "serve_config.yaml"
APPLICATION, SCORER = "reranker", "Scorer"
_DEPLOY_TIMEOUT_S = 120
Config = dict[str, Any]


def rewritten(production: Config, *, model: Path, replicas: int, port: int) -> Config:
    """Another model, on CPUs, with one proxy; and as many scorers as are asked for, whatever the load.

    One proxy, because all nodes share this machine's ports.
    """
    config = copy.deepcopy(production)
    config["proxy_location"] = "HeadOnly"
    config["http_options"]["port"] = port
    application = _named(config["applications"], APPLICATION)
    application["args"] |= {"model": str(model), "device": "cpu"}
    scorer = _named(application["deployments"], SCORER)
    scorer["autoscaling_config"] |= {"min_replicas": replicas, "max_replicas": replicas}
    return config


def differences(before: Config, after: Config) -> list[tuple[str, str, str]]:
    """(where, before, after) of every value that is not the same."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        (where, str(old.get(where, "")), str(new.get(where, "")))
        for where in dict.fromkeys([*old, *new])
        if old.get(where) != new.get(where)
    ]


def deploy(config: Config, directory: StateDirectory, gcs: str) -> None:
    """`serve run --non-blocking`: as `serve deploy`, but without a dashboard, which needs hundreds of megabytes.

    Raises Unavailable when Serve does not take it.
    """
    path, log = directory.config, directory.log("deploy")
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command: list[str | Path] = [
        *(Path(sys.executable).with_name("serve"), "run", "--non-blocking"),
        *("--address", gcs, "--app-dir", PRODUCTION.parent, path),
    ]
    process = processes.start(command, log, nodes.environment(directory))
    session = processes.session_of(process)
    try:
        process.wait(_DEPLOY_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Serve did not take {path} within {_DEPLOY_TIMEOUT_S} s; {processes.tail(log)}") from None
    finally:
        processes.kill([session])
    if process.returncode or "Submitted deploy config successfully" not in log.read_text(errors="replace"):
        raise Unavailable(f"Serve did not take {path}; {processes.tail(log)}")


def _named(entries: list[Config], name: str) -> Config:
    return next(entry for entry in entries if entry["name"] == name)


def _leaves(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    """Every value that holds no others, with its path; entries of a list are known by their names."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            name = child.get("name", number) if isinstance(child, dict) else number
            yield from _leaves(child, f"{where}.{name}")
    else:
        yield where, value
