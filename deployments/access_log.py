"""One line in the log for each request that a dialect's path was asked, and no text of it.

Every value is a number, comes from a closed set, or is an id without spaces: nothing that a client sends can start a
line or a field.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from deployments.request_record import RequestRecord
from deployments.settings import LogSettings

log = logging.getLogger("ray.serve")


class AccessLog:
    """At most so many lines per second, so that an overload costs no more for being logged.

    The next line after some that were left out says how many. Not thread-safe: one event loop owns it.
    """

    def __init__(self, settings: LogSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = settings.max_lines_per_s, clock
        self._allowed, self._at = float(self._per_s), clock()
        self._left_out = 0

    def write(self, record: RequestRecord) -> None:
        now = self._clock()
        self._allowed = min(float(self._per_s), self._allowed + (now - self._at) * self._per_s)
        self._at = now
        if self._allowed < 1:
            self._left_out += 1
            return
        self._allowed -= 1
        fields: dict[str, str | int | float] = {
            "dialect": record.dialect_label,
            "status": record.status,
            "documents": record.documents,
            "tokens": record.tokens,
            "seconds": round(record.seconds, 4),
            "request_id": record.id,
        }
        if record.client:
            fields["client"] = record.client
        if record.traceparent:
            fields["trace_id"] = record.trace_id
        if self._left_out:
            fields["left_out"] = self._left_out
            self._left_out = 0
        # In JSON each is a field of its own as well.
        log.info("request %s", " ".join(f"{name}={value}" for name, value in fields.items()), extra=fields)
