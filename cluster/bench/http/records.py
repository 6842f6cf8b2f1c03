"""The outcome of each request, as the client saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

OK = 200
TOO_MANY = 429
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One request. Times are in seconds since the run began; `intended_s` is when the request should have started.

    status: the HTTP status, or NO_ANSWER, with the reason in `problem`. retry_after_s: the wait a refusal advised.
    """

    intended_s: float
    sent_s: float
    done_s: float
    documents: int
    status: int
    retry_after_s: float | None = None
    problem: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status == OK

    @property
    def latency_s(self) -> float:
        """From the intended start, so that a client that falls behind does not hide the wait."""
        return self.done_s - self.intended_s


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The advised wait in seconds; None without one, or if it is a date.

    Headers in milliseconds take precedence, because Retry-After has whole seconds only (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("x-retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            wait_s = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(wait_s) and wait_s >= 0:
            return wait_s
    return None
