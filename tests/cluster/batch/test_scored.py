"""A scored unit is one Arrow row, and is read back as it was written."""

from dataclasses import fields, replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.inputs.bad_rows import BadRow
from cluster.batch.scored import RANKED_ROWS, Counts, ScoredUnit, Seconds
from tests.cluster.batch.outputs import SCALE, scored_unit

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIMES = st.floats(0, 1e9)
RANKED = st.lists(
    st.fixed_dictionaries(
        {
            "query_id": TEXTS,
            "docid": TEXTS,
            "rank": st.integers(1, 2**31 - 1),
            "logit": st.floats(allow_nan=False, width=32),
        }
    ),
    max_size=6,
).map(lambda rows: pa.Table.from_pylist(rows, RANKED_ROWS))
MAYBE = st.none() | TEXTS
UNITS = st.builds(
    ScoredUnit,
    unit=st.integers(0, 2**40),
    ranked=RANKED,
    bad=st.lists(st.builds(BadRow, TEXTS, MAYBE, st.none() | st.integers(1), MAYBE, MAYBE, MAYBE), max_size=3),
    scale=st.builds(replace, st.just(SCALE), checkpoint=MAYBE, model=TEXTS),
    counts=st.builds(Counts, *[st.integers(0, 2**40)] * len(fields(Counts))),
    seconds=st.builds(Seconds, TIMES, TIMES, TIMES),
    worker=TEXTS,
    peak_bytes=st.integers(0, 2**50),
)


@given(units=st.lists(UNITS, min_size=1, max_size=3))
def test_scored_units_survive_the_trip_through_rows(units: list[ScoredUnit]) -> None:
    rows = [unit.to_row() for unit in units]
    assert all(row.num_rows == 1 for row in rows)
    table = pa.concat_tables(rows).combine_chunks()  # Ray Data may merge blocks
    assert [ScoredUnit.from_row(table.slice(number, 1)) for number in range(len(units))] == units


def test_empty_ranking_keeps_its_schema() -> None:
    unit = scored_unit(3, candidates=0, bad=["d1", "d2"])
    read = ScoredUnit.from_row(unit.to_row())
    assert read == unit
    assert (read.ranked.num_rows, read.ranked.schema) == (0, RANKED_ROWS)
    assert [row.docid for row in read.bad] == ["d1", "d2"]


def test_counts_add_field_by_field() -> None:
    first, second = Counts(1, 2, 3, 4, 5, 6, 7), Counts(10, 20, 30, 40, 50, 60, 70)
    assert first + second == Counts(11, 22, 33, 44, 55, 66, 77)
    assert first + Counts() == first
