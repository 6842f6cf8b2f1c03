"""Rounds of several contenders, interleaved in random order; one that dies leaves the others alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.bench.engine.contender import RERANKER, Contender, ContenderDied, ContenderProcess
from cluster.bench.workload import Request
from reranker.prompt import PromptTemplate


@dataclass(slots=True)
class Measured:
    """What one contender did.

    facts: load_s, versions and notes, as it gave them. answers: one for each round that counts, with `seconds`.
    died: the end of its stderr, None where all went well.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    peak_memory_bytes: int | None = None
    died: str | None = None


def run_rounds(
    contenders: Sequence[tuple[Contender, Path]],
    told: dict[str, Any],
    requests: Sequence[Request],
    template: PromptTemplate,
    *,
    warm_up: int,
    seed: int,
    progress: Callable[[str], None],
) -> list[Measured]:
    """Start contenders (with their interpreters) one after another, then give each every request.

    told: their settings. The first `warm_up` requests do not count. progress: called with what is done now.
    """
    order = random.Random(seed)  # noqa: S311  (an order, not a secret)
    measured = [Measured(contender.name) for contender, _ in contenders]
    with ExitStack() as stack:
        running: list[tuple[Contender, ContenderProcess, Measured]] = []
        for (contender, interpreter), result in zip(contenders, measured, strict=True):
            progress(f"loading {contender.name}")
            try:
                process = stack.enter_context(ContenderProcess(contender, interpreter, told))
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
                    answer = process.ask(_message(contender, request, template))
                except ContenderDied as death:
                    result.died = str(death)
                    continue
                if number >= warm_up:
                    result.answers.append(answer)
        for _, process, result in running:
            result.peak_memory_bytes = process.peak_memory_bytes()
    return measured


def _message(contender: Contender, request: Request, template: PromptTemplate) -> dict[str, Any]:
    """Our own engine writes its pairs itself; peers, which know of no template, are given them as written."""
    if contender is RERANKER:
        return {"query": request.query, "passages": request.passages}
    return {
        "query": template.query(request.query),
        "documents": [template.passage(passage) for passage in request.passages],
    }
