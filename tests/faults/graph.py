"""The graph under test, with two replicas of each deployment, and its state as Serve reports it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx
from ray import serve
from ray.exceptions import RayError

from cluster.local.deployment import APPLICATION
from cluster.local.replicas import Replica, take_snapshot
from deployments.app import gateway, scorer, tokenizer
from deployments.settings import AppSettings
from tests.faults.faulty import FaultyScorer
from tests.faults.nodes import GPU_RESOURCE

# A simulated device: the 1,400 tokens of a request take 0.14 s.
SIMULATED = {"simulated_tokens_per_s": 10_000.0, "max_batch_tokens": 2_000}
ALL_REPLICAS = {"Gateway": 2, "Tokenizer": 2, "Scorer": 2}
STALL_TIMEOUT_S = 4.0
_DEFAULT_SETTINGS: dict[str, Any] = {"device": "cpu", "engine": SIMULATED, "shards": {"direct_chars": 0}}


class Graph:
    """url: the head's proxy. faults: the directory in which scorers look for their faults."""

    def __init__(self, url: str, faults: Path) -> None:
        self.url, self.faults = url, faults
        self._replicas = dict(ALL_REPLICAS)

    def deploy(
        self,
        replicas: Mapping[str, int] = ALL_REPLICAS,
        scorer_options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Returns when all replicas run and can be reached. settings: changes to the default ones."""
        self._replicas = dict(replicas)
        app = AppSettings.model_validate(_DEFAULT_SETTINGS | settings)
        health_checks: dict[str, Any] = {"health_check_period_s": 1, "health_check_timeout_s": 2}
        options = {"ray_actor_options": {"num_cpus": 0.5, "resources": {GPU_RESOURCE: 1}}} | health_checks
        options |= dict(scorer_options or {})
        scorers = scorer.options(func_or_class=FaultyScorer, num_replicas=replicas["Scorer"], **options)
        bound = gateway.options(num_replicas=replicas["Gateway"], **health_checks).bind(
            app,
            tokenizer.options(num_replicas=replicas["Tokenizer"], **health_checks).bind(app.checkpoint),
            scorers.bind(app.checkpoint, app.engine, str(self.faults), STALL_TIMEOUT_S),
        )
        serve.run(bound, name=APPLICATION, route_prefix="/")
        self.wait_until_running()
        self._wait_until_reached()

    def _wait_until_reached(self, timeout_s: float = 30) -> None:
        """HAProxy may learn of gateways after Serve says that they run. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (answer := httpx.get(f"{self.url}/ready", timeout=10)).status_code != 200:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.url}/ready answers {answer.status_code}: {answer.text[:200]}")
            time.sleep(0.1)

    def replicas(self, name: str) -> tuple[Replica, ...]:
        """Replicas of a deployment that run according to Serve."""
        return take_snapshot()[name].running

    def pids(self, name: str) -> list[int]:
        return sorted(replica.pid for replica in self.replicas(name) if replica.pid)

    def wait_until_running(self, without: Collection[int] = (), timeout_s: float = 180) -> float:
        """Seconds until every replica runs and none of them has these pids. Raises TimeoutError."""
        started = time.monotonic()
        found: dict[str, list[int]] = {}
        while time.monotonic() - started < timeout_s:
            with contextlib.suppress(RayError):  # the controller may be down
                seen = take_snapshot()
                found = {name: [one.pid or 0 for one in seen[name].running] for name in self._replicas}
                complete = all(len(pids) == self._replicas[name] for name, pids in found.items())
                healthy = all(seen[name].status == "HEALTHY" for name in self._replicas)
                if complete and healthy and not {pid for pids in found.values() for pid in pids} & set(without):
                    return time.monotonic() - started
            time.sleep(0.2)
        raise TimeoutError(f"after {timeout_s} s running pids are {found}, wanted {self._replicas} without {without}")
