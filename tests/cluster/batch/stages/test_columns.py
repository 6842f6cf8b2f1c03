"""Encoded pairs survive the trip through Arrow columns, in any chunks and slices."""

from dataclasses import fields
from itertools import chain

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.stages.columns import from_columns, to_columns
from reranker.pairs import EncodedPairs, offsets

IDS = st.lists(st.integers(0, 2**31 - 1), max_size=5)


@st.composite
def encoded_pairs(draw: st.DrawFn) -> EncodedPairs:
    """A query's pairs; it may have none, and a prefix or a passage may be empty."""
    prefixes, passages = draw(st.lists(IDS, min_size=1, max_size=3)), draw(st.lists(IDS, max_size=4))

    def one_each(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=len(passages), max_size=len(passages)))

    return EncodedPairs(
        prefix_ids=np.array(list(chain.from_iterable(prefixes)), dtype=np.int32),
        prefix_offsets=offsets(np.array([len(ids) for ids in prefixes])),
        prefix_of=np.array(one_each(st.integers(0, len(prefixes) - 1)), dtype=np.int32),
        passage_ids=np.array(list(chain.from_iterable(passages)), dtype=np.int32),
        passage_offsets=offsets(np.array([len(ids) for ids in passages], dtype=np.int64)),
        candidate_of=np.arange(len(passages), dtype=np.int32),
        truncated=np.array(one_each(st.booleans()), dtype=bool),
    )


@given(blocks=st.lists(st.lists(encoded_pairs(), max_size=3), min_size=1, max_size=3), skipped=st.integers(0, 3))
def test_columns_keep_values_and_dtypes_of_every_field(blocks: list[list[EncodedPairs]], skipped: int) -> None:
    table = pa.concat_tables(pa.table(to_columns(rows)) for rows in blocks)
    rows = [pairs for block in blocks for pairs in block][skipped:]
    read = from_columns(table.slice(skipped))
    assert len(read) == len(rows)
    for before, after in zip(rows, read, strict=True):
        for field in fields(EncodedPairs):
            sent, received = getattr(before, field.name), getattr(after, field.name)
            assert received.dtype == sent.dtype, field.name
            assert received.tolist() == sent.tolist(), field.name
