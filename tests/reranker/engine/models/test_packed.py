"""Laying sequences end to end: every token once, in its place, and blocks that cover all and keep their bound."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.models.packed import Sequences, blocks
from reranker.engine.models.varlen import key_rows

PREFIX_LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@st.composite
def laid(draw: st.DrawFn) -> tuple[Sequences, list[np.ndarray], list[int]]:
    """Sequences, the parts they were laid from (each token unlike any other), and the prefixes' lengths by slot."""
    prefixes = draw(PREFIX_LENGTHS)
    slots = draw(st.lists(st.integers(-1, len(prefixes) - 1), min_size=1, max_size=12))
    lengths = draw(st.lists(st.integers(1, 30), min_size=len(slots), max_size=len(slots)))
    parts = np.split(np.arange(sum(lengths), dtype=np.int32), np.cumsum(lengths)[:-1])
    before = [prefixes[slot] if slot >= 0 else 0 for slot in slots]
    sequences = Sequences.lay(parts, np.array(slots, dtype=np.int32), np.array(before, dtype=np.int32))
    return sequences, parts, prefixes


@given(laid())
def test_every_sequence_stands_whole_where_origin_says(given_laid: tuple) -> None:
    sequences, parts, _ = given_laid
    assert sorted(sequences.origin) == list(range(len(parts)))
    for place, origin in enumerate(sequences.origin):
        start, end = sequences.starts[place : place + 2]
        assert sequences.ids[start:end].tolist() == parts[origin].tolist()
        first = sequences.before[place]
        assert sequences.positions[start:end].tolist() == list(range(first, first + end - start))


@given(laid(), st.integers(1, 3000), st.integers(1, 8))
def test_blocks_cover_all_keep_their_bound_and_unpad_what_they_pad(
    given_laid: tuple, max_scores: int, step: int
) -> None:
    sequences, _, _ = given_laid
    covered = []
    for block in blocks(sequences, max_scores, step):
        covered += range(block.first, block.last)
        assert set(sequences.slot[block.first : block.last]) == {block.slot}
        assert 0 <= block.longest - sequences.lengths[block.first : block.last].max() < step
        assert block.longest % step == 0
        assert block.count * block.longest * (block.before + block.longest) <= max_scores or block.count == 1
        packed = sequences.ids[block.start : block.end]
        if block.rows is None:
            assert len(packed) == block.count * block.longest
        else:
            assert sequences.ids[block.rows][block.kept].tolist() == packed.tolist()
    assert covered == list(range(len(sequences)))


@given(laid())
def test_key_rows_read_each_sequences_prefix_and_then_itself(given_laid: tuple) -> None:
    sequences, _, prefixes = given_laid
    used = [slot for slot in range(len(prefixes)) if slot in sequences.slot]
    renumbered = np.array([used.index(slot) if slot >= 0 else -1 for slot in sequences.slot], dtype=np.int32)
    sequences = Sequences(sequences.ids, sequences.starts, renumbered, sequences.before, sequences.origin)
    marks = [np.arange(prefixes[slot]) + 1000 * (slot + 1) for slot in used]

    keys = np.concatenate([*marks, sequences.ids])[key_rows(sequences)]

    expected = [
        np.concatenate(([] if slot < 0 else marks[slot], sequences.ids[start:end]))
        for slot, start, end in zip(renumbered, sequences.starts[:-1], sequences.starts[1:], strict=True)
    ]
    assert keys.tolist() == np.concatenate(expected).tolist()
