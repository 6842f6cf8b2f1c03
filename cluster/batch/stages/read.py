"""The first stage: read a unit's texts.

One row is one unit: Ray Data may split blocks but never rows, so a unit is always encoded and scored as a whole. This
module imports little, because every worker process that reads has to load it.
"""

from __future__ import annotations

import time

import pyarrow as pa

from cluster.batch.plan import read_unit

_TEXTS = pa.list_(pa.large_string())
UNIT_ROW = pa.schema(
    [
        ("unit", pa.int64()),
        ("query_ids", pa.list_(pa.string())),
        ("queries", _TEXTS),
        ("counts", pa.list_(pa.int32())),
        ("docids", pa.list_(pa.string())),
        ("titles", _TEXTS),
        ("texts", _TEXTS),
        ("read_s", pa.float64()),
    ]
)


def read_stage(row: pa.Table, *, plan: str) -> pa.Table:
    """A unit's number -> UNIT_ROW. Runs on the node that has the plan's files."""
    started = time.perf_counter()
    number = row.column("unit")[0].as_py()
    unit = read_unit(plan, number)
    columns = [number, unit.query_ids, unit.queries, unit.counts, unit.docids, unit.titles, unit.texts]
    columns.append(time.perf_counter() - started)
    return pa.table([[value] for value in columns], schema=UNIT_ROW)
