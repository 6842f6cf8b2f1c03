"""A part: one scored unit as a parquet file, with all that a job must know of it in the file's metadata.

Equal units give equal bytes. Reads and writes bytes, never files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.batch.scored import Counts, Scale, ScoredUnit
from cluster.batch.seal import SEAL, is_sealed, seal
from reranker.pairs import FloatArray

_METADATA_KEY = "reranker"
_MAGIC = b"PAR1"  # the first bytes of a parquet file


@dataclass(frozen=True, slots=True)
class Part:
    """What the metadata say. job: `job_of` its identity. rows: ranked candidates. bad_rows: those without a score."""

    unit: int
    job: str
    scale: Scale
    counts: Counts
    rows: int
    bad_rows: int


def encode_part(scored: ScoredUnit, job: str) -> tuple[Part, bytes]:
    part = Part(scored.unit, job, scored.scale, scored.counts, scored.ranked.num_rows, len(scored.bad))
    bad_rows = [_without_none(asdict(row)) for row in scored.bad]
    facts = asdict(part) | {"bad_rows": bad_rows} | SEAL
    sink = pa.BufferOutputStream()
    pq.write_table(scored.ranked.replace_schema_metadata({_METADATA_KEY: json.dumps(facts)}), sink)
    return part, seal(sink.getvalue().to_pybytes())


def decode_part(contents: bytes) -> Part | None:
    """None unless these are the bytes of a part, all of them and unchanged."""
    if not (contents.startswith(_MAGIC) and is_sealed(contents)):
        return None
    facts = _facts(contents)
    try:
        scale, counts = Scale(**facts["scale"]), Counts(**facts["counts"])
        return Part(facts["unit"], facts["job"], scale, counts, facts["rows"], len(facts["bad_rows"]))
    except (KeyError, TypeError):  # of another version of this package
        return None


def bad_rows_of(contents: bytes) -> Iterator[str]:
    """The unit's lines of the dead-letter file."""
    return (f"{json.dumps(row)}\n" for row in _facts(contents)["bad_rows"])


def rankings_of(contents: bytes) -> Iterator[tuple[str, list[str], FloatArray]]:
    """(query_id, docids, logits) of each query, best first."""
    table = pq.read_table(pa.BufferReader(contents))
    query_ids = np.array(table.column("query_id").to_pylist(), dtype=object)
    docids, logits = table.column("docid").to_pylist(), table.column("logit").to_numpy()
    starts = [0, *(np.flatnonzero(query_ids[1:] != query_ids[:-1]) + 1).tolist(), len(query_ids)]
    for start, end in pairwise(starts):
        if end > start:
            yield query_ids[start], docids[start:end], logits[start:end]


def _facts(contents: bytes) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(pq.read_metadata(pa.BufferReader(contents)).metadata[_METADATA_KEY.encode()])
    return facts


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
