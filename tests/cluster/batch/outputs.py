"""Made-up scored units, and helpers for the output directory they are written to."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.batch.inputs.bad_rows import BadRow
from cluster.batch.output import BatchOutput
from cluster.batch.scored import RANKED_ROWS, Counts, Scale, ScoredUnit, Seconds

SCALE = Scale("embedded", "0af3", "bare", 1, 512, "float32", "cpu", 16_384, 1)
JOB: dict[str, Any] = {"version": "1", "inputs": {"run": "sha"}}


def scored_unit(
    number: int, *, queries: int = 2, candidates: int = 3, bad: Sequence[str] = (), scale: Scale = SCALE
) -> ScoredUnit:
    """bad: docids of candidates of the first query that have no finite score."""
    rng = np.random.default_rng(number)
    rows = queries * candidates
    ranked = {
        "query_id": [f"q{number}-{query}" for query in range(queries) for _ in range(candidates)],
        "docid": [f"d{rng.integers(2**60)}" for _ in range(rows)],
        "rank": [*range(1, candidates + 1)] * queries,
        "logit": np.concatenate([-np.sort(-rng.normal(size=(queries, candidates)).astype(np.float32)).ravel(), []]),
    }
    return ScoredUnit(
        number,
        pa.table(ranked, schema=RANKED_ROWS),
        [BadRow("its logit is nan", query_id=f"q{number}-0", docid=docid) for docid in bad],
        scale,
        Counts(queries, rows + len(bad), rows, 7 * rows, number, 1, 2),
        Seconds(*rng.random(3).tolist()),
        f"host:{number}",
    )


def rankings_of(units: Iterable[ScoredUnit]) -> list[dict[str, Any]]:
    return [row for unit in units for row in unit.ranked.to_pylist()]


def begin(output: BatchOutput) -> BatchOutput:
    """Begin a job: write its identity and create the plan's directory."""
    output.begin(JOB)
    output.plan.mkdir(parents=True, exist_ok=True)
    return output


def finish(output: BatchOutput) -> None:
    output.finish(output.plan / "bad_rows.jsonl", JOB, {"top_k": None})


def contents_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
