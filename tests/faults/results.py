"""What was measured under each fault, printed below pytest's summary."""

from __future__ import annotations

from typing import NamedTuple

from tests.faults.load import Load


class Result(NamedTuple):
    """whole_s: until every replica ran again, None where nothing was lost."""

    fault: str
    sent: int
    failed: int
    longest_s: float
    whole_s: float | None
    note: str = ""

    def __str__(self) -> str:
        whole = "-" if self.whole_s is None else f"{self.whole_s:.1f} s"
        return (
            f"{self.fault:<44} sent {self.sent:>4}  failed {self.failed:>3}  longest {self.longest_s:5.1f} s  "
            f"whole after {whole}  {self.note}"
        )


class Results(list[Result]):
    def add(self, fault: str, load: Load, whole_s: float | None = None, note: str = "") -> None:
        self.append(Result(fault, len(load.answers), len(load.failed), load.longest_s, whole_s, note))
