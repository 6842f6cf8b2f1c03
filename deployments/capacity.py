"""How much can the scorers read, and which part of it is this gateway's?

Serve's controller is asked how many replicas run, in passing and at most every five seconds; how fast they are comes
with every answer of theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from reranker.errors import Unavailable
from reranker.types import ModelDescription

log = logging.getLogger("ray.serve")

_ASK_EVERY_S = 5.0  # an answer costs some 40 ms of CPU here, and as much there
_ASK_TIMEOUT_S = 2.0
_NEWS = 0.1  # weight of the newest answer in the mean speed


@dataclass(frozen=True, slots=True)
class Fleet:
    """What runs of one application.

    problem: Serve's own words on deployments that are not healthy, or ''. failed: it has given one of them up.
    """

    scorers: int = 1
    gateways: int = 1
    problem: str = ""
    failed: bool = False


class Capacity:
    """One gateway's knowledge of the fleet."""

    def __init__(self, scorer: DeploymentHandle[Any]) -> None:
        context = serve.get_replica_context()
        self._app_name, self._gateway_name = context.app_name, context.deployment
        self._scorer = scorer
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = -math.inf
        self._tokens_per_s = 0.0  # of one scorer
        self.fleet = Fleet()
        self.description: ModelDescription | None = None

    @property
    def tokens_per_s(self) -> float:
        """This gateway's equal share of what all scorers read. Infinite until it was measured."""
        if not self._tokens_per_s:
            return math.inf
        return self._tokens_per_s * max(1, self.fleet.scorers) / max(1, self.fleet.gateways)

    def observe(self, tokens_per_s: float) -> None:
        """A scorer has told its speed."""
        self._tokens_per_s += (tokens_per_s - self._tokens_per_s) * (_NEWS if self._tokens_per_s else 1.0)

    async def refresh(self) -> None:
        """Ask again where the answer is old. Only the first caller waits for it."""
        if time.monotonic() - self._asked_at < _ASK_EVERY_S:
            return
        self._asked_at = time.monotonic()
        first, self._asking = self._asking is None, asyncio.create_task(self._ask())
        if first:
            await asyncio.shield(self._asking)

    def check(self) -> None:
        """Raises Unavailable where no scorer will ever come: Serve would let a call wait for one."""
        if not self.fleet.scorers and self.fleet.failed:
            raise Unavailable(self.fleet.problem)

    async def describe(self) -> ModelDescription:
        """What a scorer says of its model; where none runs because none is needed, what one said last.

        Raises Unavailable, with Serve's reason where it has one.
        """
        await self.refresh()
        if not self.fleet.scorers:
            await self._look()  # one may just have come
        if self.fleet.scorers:
            try:
                return await self._ask_scorer()
            except Exception as error:
                await self._look()
                raise Unavailable(self.fleet.problem or "no scorer answered in time") from error
        if self.description is None or self.fleet.problem:
            raise Unavailable(self.fleet.problem or "no scorer runs yet: the next request starts one")
        return self.description

    async def _ask(self) -> None:
        await self._look()
        if self.fleet.scorers and self.description is None:
            with contextlib.suppress(Exception):  # asked again soon
                self.observe((await self._ask_scorer()).tokens_per_s)

    async def _look(self) -> None:
        """Without a controller the fleet stays what it was."""
        try:
            self.fleet = await asyncio.to_thread(_fleet, self._app_name, self._gateway_name, self._scorer)
        except Exception as error:
            log.warning("Serve does not say what runs: %s", type(error).__name__)

    async def _ask_scorer(self) -> ModelDescription:
        async with asyncio.timeout(_ASK_TIMEOUT_S):
            self.description = await self._scorer.describe.remote()
            return self.description


def _fleet(app_name: str, gateway_name: str, scorer: DeploymentHandle[Any]) -> Fleet:
    deployments = serve.status().applications[app_name].deployments
    problems = [
        f"{name}: {deployment.status}: {_last_lines(deployment.message)}"
        for name, deployment in deployments.items()
        if deployment.status not in ("HEALTHY", "UPSCALING", "DOWNSCALING")
    ]
    running = {
        name: sum(count for state, count in deployment.replica_states.items() if state == "RUNNING")
        for name, deployment in deployments.items()
    }
    failed = any(deployment.status == "DEPLOY_FAILED" for deployment in deployments.values())
    return Fleet(running.get(scorer.deployment_name, 0), running.get(gateway_name, 0), "; ".join(problems), failed)


def _last_lines(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(line for line in lines if "Error" in line)[-600:] or " ".join(lines)[-300:]
