"""EncodedPairs as Arrow list columns, one row per EncodedPairs, for the trip between Ray Data actors."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pyarrow as pa

from reranker.pairs import EncodedPairs

COLUMNS = {
    "prefix_ids": pa.int32(),
    "prefix_offsets": pa.int64(),
    "prefix_of": pa.int32(),
    "passage_ids": pa.int32(),
    "passage_offsets": pa.int64(),
    "candidate_of": pa.int32(),
    "truncated": pa.bool_(),
}
assert list(COLUMNS) == [field.name for field in fields(EncodedPairs)]  # noqa: S101  (every field has a column)


def to_columns(rows: Sequence[EncodedPairs]) -> dict[str, pa.Array]:
    """One list column per field; row i holds rows[i]."""
    return {
        name: pa.array([getattr(pairs, name) for pairs in rows], type=pa.list_(kind))
        for name, kind in COLUMNS.items()
    }


def from_columns(table: pa.Table) -> list[EncodedPairs]:
    """The inverse of `to_columns`."""
    columns = {name: table.column(name).combine_chunks() for name in COLUMNS}
    return [
        EncodedPairs(**{name: _array(column, row) for name, column in columns.items()})
        for row in range(table.num_rows)
    ]


def _array(column: pa.Array, row: int) -> np.ndarray:
    values: np.ndarray = column[row].values.to_numpy(zero_copy_only=False)
    return values
