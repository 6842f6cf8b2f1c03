"""One live run in this process: the task as JSON on stdin; what it observed is written to the task's `output`.

It starts Ray, deploys the config, sends each request at its time, and samples the number of replicas meanwhile. Ray
gets more logical CPUs than the machine may have, because simulated scorers only sleep.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve.schema import ServeDeploySchema

_LOGICAL_CPUS = 8
_READY_TIMEOUT_S = 240
_ANSWER_TIMEOUT_S = 120
_SAMPLE_EVERY_S = 0.5


def main() -> None:
    task = json.loads(sys.stdin.read())
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=_LOGICAL_CPUS,
        namespace="serve",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=task["scratch"],
    )
    try:
        config = ServeDeploySchema.model_validate(task["config"])
        client = serve_start(http_options=config.http_options.model_dump(), proxy_location=config.proxy_location)
        client.deploy_apps(config, _blocking=False)
        observed = asyncio.run(_replay(task))
        Path(task["output"]).write_text(json.dumps(observed))
    finally:
        serve.shutdown()
        ray.shutdown()


async def _replay(task: dict[str, Any]) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=task["url"], timeout=_ANSWER_TIMEOUT_S, limits=limits) as client:
        await _await_ready(client)
        started = time.monotonic()
        replicas: list[tuple[float, int, int]] = []
        sampling = asyncio.create_task(_sample(replicas, started))
        try:
            sent = [asyncio.create_task(_send(client, task["body"], started + at)) for at in task["times"]]
            answers = await asyncio.gather(*sent)
            await asyncio.sleep(max(0.0, started + task["length_s"] - time.monotonic()))
        finally:
            sampling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampling
    problems = sorted({answer["problem"] for answer in answers if answer["problem"]})
    return {"answers": answers, "replicas": replicas, "problems": problems}


async def _await_ready(client: httpx.AsyncClient) -> None:
    """Wait until the graph is ready. Raises TimeoutError with Serve's status."""
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if (await client.get("/ready")).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.3)
    raise TimeoutError(f"the graph was not ready within {_READY_TIMEOUT_S} s: {serve.status()}")


async def _send(client: httpx.AsyncClient, body: dict[str, Any], at: float) -> dict[str, Any]:
    """Send one request at its time. Status 0 means no answer."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    started = time.monotonic()
    try:
        response = await client.post("/v2/rerank", json=body)
        status, problem = response.status_code, "" if response.is_success else response.text[:200]
    except httpx.HTTPError as error:
        status, problem = 0, f"{type(error).__name__}: {error}"
    return {"status": status, "seconds": time.monotonic() - started, "problem": problem}


async def _sample(replicas: list[tuple[float, int, int]], started: float) -> None:
    """Append (second, running replicas, running or starting replicas) until cancelled."""
    while True:
        states = await asyncio.to_thread(_states)
        paid = sum(count for state, count in states.items() if state != "STOPPING")
        replicas.append((time.monotonic() - started, states.get("RUNNING", 0), paid))
        await asyncio.sleep(_SAMPLE_EVERY_S)


def _states() -> dict[str, int]:
    (application,) = serve.status().applications.values()
    return {str(state): count for state, count in application.deployments["Scorer"].replica_states.items()}


if __name__ == "__main__":
    main()
