"""Measurements under each fault, printed after pytest's summary."""

from __future__ import annotations

from typing import NamedTuple

from tests.faults.load import Load


class Result(NamedTuple):
    """per_s: requests sent per second. recovered_s: until all replicas ran again, None if none was lost."""

    fault: str
    per_s: float
    sent: int
    failed: int
    longest_s: float
    recovered_s: float | None
    note: str = ""

    def __str__(self) -> str:
        recovered = "-" if self.recovered_s is None else f"{self.recovered_s:.1f} s"
        return (
            f"{self.fault:<44} {self.per_s:.1f}/s  sent {self.sent:>4}  failed {self.failed:>3}  "
            f"longest {self.longest_s:5.1f} s  recovered after {recovered}  {self.note}"
        )


class Results(list[Result]):
    def add(self, fault: str, load: Load, recovered_s: float | None = None, note: str = "") -> None:
        self.append(Result(fault, load.per_s, len(load.answers), len(load.failed), load.longest_s, recovered_s, note))
