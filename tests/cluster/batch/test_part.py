"""A part is read back as it was written, and any change of its bytes makes it no part."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.part import Part, bad_rows_of, decode_part, encode_part, rankings_of
from cluster.batch.scored import RANKED_ROWS
from cluster.batch.seal import SEAL, seal
from tests.cluster.batch.outputs import SCALE, scored_unit

UNIT = scored_unit(7, bad=["x", 'it\'s "sha256": "0'])
PART, CONTENTS = encode_part(UNIT, "job")


def test_part_is_read_back_as_it_was_written() -> None:
    assert decode_part(CONTENTS) == PART == Part(7, "job", SCALE, UNIT.counts, 6, 2)
    assert pq.read_table(pa.BufferReader(CONTENTS)).equals(UNIT.ranked)
    assert pq.read_schema(pa.BufferReader(CONTENTS)).equals(RANKED_ROWS)
    assert [json.loads(line)["docid"] for line in bad_rows_of(CONTENTS)] == ["x", 'it\'s "sha256": "0']
    rows = UNIT.ranked.to_pylist()
    assert [(query_id, docids, logits.tolist()) for query_id, docids, logits in rankings_of(CONTENTS)] == [
        (query_id, *([row[name] for row in rows if row["query_id"] == query_id] for name in ("docid", "logit")))
        for query_id in ("q7-0", "q7-1")
    ]


def test_equal_units_are_equal_bytes_and_those_of_another_job_are_not() -> None:
    assert encode_part(scored_unit(7, bad=["x", 'it\'s "sha256": "0']), "job")[1] == CONTENTS
    assert encode_part(UNIT, "other")[1] != CONTENTS


@pytest.mark.parametrize("candidates", [0, 3])
def test_unit_without_ranked_candidates_is_a_part(candidates: int) -> None:
    part, contents = encode_part(scored_unit(1, candidates=candidates, bad=["x"]), "job")
    assert decode_part(contents) == part
    assert len(list(rankings_of(contents))) == (2 if candidates else 0)


@given(at=st.integers(0, len(CONTENTS) - 1), change=st.integers(1, 255))
def test_part_cut_or_changed_at_any_byte_is_none(at: int, change: int) -> None:
    changed = bytearray(CONTENTS)
    changed[at] ^= change
    assert decode_part(bytes(changed)) is None
    assert decode_part(CONTENTS[:at]) is None


@pytest.mark.parametrize("facts", [{}, {"unit": 1, "job": "", "scale": {}, "counts": {}, "rows": 0, "bad_rows": []}])
def test_other_sealed_files_are_none(facts: dict[str, object]) -> None:
    """A sealed file of another kind, and a part whose version of this package had other facts."""
    assert decode_part(seal(json.dumps(facts | SEAL).encode())) is None
    sink = pa.BufferOutputStream()
    pq.write_table(UNIT.ranked.replace_schema_metadata({"reranker": json.dumps(facts | SEAL)}), sink)
    assert decode_part(seal(sink.getvalue().to_pybytes())) is None
