"""Rounds of several contenders in random order; when one dies, the others continue."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cluster.bench.engine.contender import Contender, ContenderDied, ContenderProcess

Work = TypeVar("Work")


@dataclass(slots=True)
class Measured:
    """Results of one contender.

    facts: load_s, versions and notes, as its driver reported them. answers: one per measured round, with `seconds`.
    died: the end of its stderr, or None if it finished.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    peak_memory_bytes: int | None = None
    died: str | None = None

    def column(self, name: str) -> list[Any]:
        """One value of every answer."""
        return [answer[name] for answer in self.answers]


def run_rounds(
    contenders: Sequence[tuple[Contender, Path]],
    options: dict[str, Any],
    requests: Sequence[Work],
    message: Callable[[Contender, Work], dict[str, Any]],
    *,
    warm_up: int,
    seed: int,
    progress: Callable[[str], None],
) -> list[Measured]:
    """Start the contenders, each with its interpreter, one by one; then send every request to all of them.

    options: given to every driver. message: what a contender gets of a request. The first `warm_up` requests are not
    measured. progress: called with a description of each step.
    """
    order = random.Random(seed)  # noqa: S311  (an order, not a secret)
    measured = [Measured(contender.name) for contender, _ in contenders]
    with ExitStack() as stack:
        running: list[tuple[Contender, ContenderProcess, Measured]] = []
        for (contender, interpreter), result in zip(contenders, measured, strict=True):
            progress(f"loading {contender.name}")
            try:
                process = stack.enter_context(ContenderProcess(contender, interpreter, options))
            except ContenderDied as death:
                result.died = str(death)
                continue
            result.facts = process.facts
            running.append((contender, process, result))
        for number, request in enumerate(requests):
            for contender, process, result in order.sample(running, len(running)):
                if result.died is not None:
                    continue
                progress(f"round {number + 1} of {len(requests)}: {contender.name}")
                try:
                    answer = process.ask(message(contender, request))
                except ContenderDied as death:
                    result.died = str(death)
                    continue
                if number >= warm_up:
                    result.answers.append(answer)
        for _, process, result in running:
            result.peak_memory_bytes = process.peak_memory_bytes()
    return measured
