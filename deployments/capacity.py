"""How many tokens a second all scorers read, and what share of that belongs to this gateway.

Serve's controller is asked for the replica counts in the background, at most every five seconds; a scorer's speed
comes with each of its answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.context import ReplicaContext
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeStatus

from reranker.errors import NoScorerYet, Unavailable
from reranker.types import ModelDescription

log = logging.getLogger("ray.serve")

_REFRESH_EVERY_S = 5.0  # a status call costs some 40 ms of CPU here, and as much in the controller
_DESCRIBE_TIMEOUT_S = 2.0
_ASSUMED_START_S = 60.0  # until one was waited for
_OVERDUE = 5.0  # times the last start
_EMA_WEIGHT = 0.1  # of the newest speed
# Serve starts all that it wants at once: a replica for which there is no place yet is STARTING.
_STARTING = ("STARTING", "UPDATING", "RECOVERING")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Running replicas of one application. starting_scorers, starting_gateways: those on their way.

    problem: Serve's messages about unhealthy deployments, or ''. failed: Serve has given up on one of them.
    """

    scorers: int = 1
    gateways: int = 1
    problem: str = ""
    failed: bool = False
    starting_scorers: int = 0
    starting_gateways: int = 0


class Capacity:
    """One gateway's view of the fleet."""

    def __init__(
        self,
        scorer: DeploymentHandle[Any],
        get_context: Callable[[], ReplicaContext] = serve.get_replica_context,
        get_status: Callable[[], ServeStatus] = serve.status,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        context = get_context()
        self._app_name, self._gateway_name = context.app_name, context.deployment
        self.replica = context.replica_tag  # the gateway's own
        self._scorer = scorer
        self._get_status = get_status
        self._clock = clock
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -math.inf
        self._waking: asyncio.Task[None] | None = None
        self._woken_at = -math.inf
        self._start_s = _ASSUMED_START_S
        self._in_use = False  # a request or a question about the model has come
        self._tokens_per_s = 0.0  # of one scorer
        self.fleet = Fleet()
        self.description: ModelDescription | None = None

    @property
    def tokens_per_s(self) -> float:
        """This gateway's equal share of what all scorers read. Infinite until a speed was measured."""
        if not self._tokens_per_s:
            return math.inf
        return self._tokens_per_s * max(1, self.fleet.scorers) / max(1, self.fleet.gateways)

    @property
    def scorer_tokens_per_s(self) -> float:
        """The speed of one scorer; 0 until it was measured."""
        return self._tokens_per_s

    def observe(self, tokens_per_s: float) -> None:
        """Take in the speed that a scorer reports."""
        self._tokens_per_s += (tokens_per_s - self._tokens_per_s) * (_EMA_WEIGHT if self._tokens_per_s else 1.0)

    async def refresh(self, *, for_metrics: bool = False) -> None:
        """Read the fleet again if it is stale. Only the very first caller waits for it.

        for_metrics: the caller sends no request, and may come long before a scorer runs. So the first other caller
        waits too, if no scorer has described itself by then.
        """
        is_first = not for_metrics and not self._in_use
        self._in_use = self._in_use or not for_metrics
        knows_enough = not is_first or self.description is not None
        if knows_enough and self._clock() - self._refreshed_at < _REFRESH_EVERY_S:
            return
        self._refreshed_at = self._clock()
        waits, self._refreshing = is_first or self._refreshing is None, asyncio.create_task(self._refresh())
        if waits:
            await asyncio.shield(self._refreshing)

    def check(self) -> None:
        """Raises Unavailable when no scorer will ever start: Serve would let the call wait for one."""
        if not self.fleet.scorers and self.fleet.failed:
            raise Unavailable(self.fleet.problem)

    def check_running(self) -> None:
        """Raises NoScorerYet when no scorer runs. A call of ours then waits for one, so that Serve starts it.

        Raises Unavailable, with Serve's reason if it has one, once that takes much longer than a start.
        """
        if self.fleet.scorers:
            return
        if self._waking is None:
            self._waking, self._woken_at = asyncio.create_task(self._wake()), self._clock()
        waited_s = self._clock() - self._woken_at
        if waited_s > _OVERDUE * self._start_s:
            raise Unavailable(self.fleet.problem or f"no scorer has started within {waited_s:.0f} s")
        raise NoScorerYet(max(1.0, self._start_s - waited_s, waited_s / 4))

    async def describe(self) -> ModelDescription:
        """A scorer's description of its model; the last one known if the fleet is scaled to zero.

        Raises Unavailable, with Serve's reason if it has one.
        """
        await self.refresh()
        if not self.fleet.scorers:
            await self._read_fleet()  # one may have started just now
        if self.fleet.scorers:
            try:
                return await self._describe_scorer()
            except Exception as error:
                await self._read_fleet()
                raise Unavailable(self.fleet.problem or "no scorer answered in time") from error
        if self.description is None or self.fleet.problem:
            raise Unavailable(self.fleet.problem or "no scorer is running yet: the next request starts one")
        return self.description

    async def _refresh(self) -> None:
        await self._read_fleet()
        if self.fleet.scorers and self.description is None:
            with contextlib.suppress(Exception):  # the next refresh tries again
                self.observe((await self._describe_scorer()).tokens_per_s)

    async def _wake(self) -> None:
        try:
            self.description = await self._scorer.describe.remote()
            self._start_s = max(self.description.start_s, self._clock() - self._woken_at)
        except Exception as error:
            log.warning("no scorer could be started: %s", type(error).__name__)
        await self._read_fleet()
        self._waking = None

    async def _read_fleet(self) -> None:
        """If the controller does not answer, the last known fleet stands."""
        try:
            status = await asyncio.to_thread(self._get_status)
            self.fleet = _fleet(status, self._app_name, self._gateway_name, self._scorer.deployment_name)
        except Exception as error:
            log.warning("cannot read Serve's status: %s", type(error).__name__)

    async def _describe_scorer(self) -> ModelDescription:
        async with asyncio.timeout(_DESCRIBE_TIMEOUT_S):
            self.description = await self._scorer.describe.remote()
            return self.description


def _fleet(status: ServeStatus, app_name: str, gateway_name: str, scorer_name: str) -> Fleet:
    """Raises KeyError when the application is not deployed."""
    deployments = status.applications[app_name].deployments
    problems = [
        f"{name}: {deployment.status.value}: {_last_lines(deployment.message)}"
        for name, deployment in deployments.items()
        if deployment.status not in ("HEALTHY", "UPSCALING", "DOWNSCALING")
    ]
    running, starting = (
        {
            name: sum(count for state, count in deployment.replica_states.items() if state in states)
            for name, deployment in deployments.items()
        }
        for states in (("RUNNING",), _STARTING)
    )
    failed = any(deployment.status == "DEPLOY_FAILED" for deployment in deployments.values())
    return Fleet(
        running.get(scorer_name, 0),
        running.get(gateway_name, 0),
        "; ".join(problems),
        failed,
        starting.get(scorer_name, 0),
        starting.get(gateway_name, 0),
    )


def _last_lines(message: str) -> str:
    """The lines of a replica's traceback that name an error, or else its end."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(line for line in lines if "Error" in line)[-600:] or " ".join(lines)[-300:]
