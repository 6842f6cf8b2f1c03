"""Repeats a gateway's metrics through Ray, so that the Prometheus endpoint of each node has them.

Every sample becomes a gauge of its own name, which Ray puts `ray_` before: its counters and histograms could only be
told single events, on the way of each request. Serve adds the replica, its deployment and its application as labels.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from prometheus_client.metrics_core import Metric

from deployments.metrics import Metrics

log = logging.getLogger("ray.serve")

_EVERY_S = 10.0  # as often as Ray exports; a new look at the fleet costs some 40 ms of CPU


class RayGauge(Protocol):
    def set(self, value: float, tags: dict[str, str]) -> None: ...


async def publish(
    observe: Callable[[], Awaitable[Metrics]], new_gauge: Callable[..., Any], every_s: float = _EVERY_S
) -> None:
    """Runs for ever. Ray is spoken to in a thread: where it hangs, figures are late or lost, and no request waits.

    new_gauge: name, description, tag_keys -> RayGauge.
    """
    gauges: dict[str, RayGauge] = {}
    failed = False
    while True:
        try:
            families = (await observe()).collect()
            await asyncio.to_thread(_set, gauges, families, new_gauge)
            failed = False
        except Exception as error:
            if not failed:
                log.warning("cannot give metrics to Ray: %s %s", type(error).__name__, error)
            failed = True
        await asyncio.sleep(every_s)


def _set(gauges: dict[str, RayGauge], families: Iterable[Metric], new_gauge: Callable[..., Any]) -> None:
    for family in families:
        for sample in family.samples:
            if not math.isfinite(sample.value):  # not known yet
                continue
            name = sample.name.replace(":", "_")  # which Ray does not take
            if name not in gauges:
                gauges[name] = new_gauge(name, family.documentation, tuple(sample.labels))
            gauges[name].set(sample.value, tags=sample.labels)
