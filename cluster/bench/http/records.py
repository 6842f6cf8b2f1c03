"""What became of each request: a row, as the client saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

OK = 200
TOO_MANY = 429
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One request. Times are seconds since the run began; `intended_s` is when it was meant to start.

    status: HTTP's, NO_ANSWER where none came, and `problem` says why. retry_after_s: what a refusal told.
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
        """From the intended start: a client that falls behind does not flatter the server."""
        return self.done_s - self.intended_s


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; None where a refusal does not tell, or tells a date.

    Milliseconds come first where a server gives them: Retry-After has whole seconds only (RFC 9110, 10.2.3).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("x-retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            told = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(told) and told >= 0:
            return told
    return None
