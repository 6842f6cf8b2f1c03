"""Packed sequences: every token once, at its position, and blocks that cover all sequences within their bound."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.models.packed import Sequences, blocks
from reranker.engine.models.varlen import key_rows

PREFIX_LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@st.composite
def packed_sequences(draw: st.DrawFn) -> tuple[Sequences, list[np.ndarray], list[int]]:
    """Sequences, the parts they were packed from (all tokens different), and the lengths of the prefixes."""
    prefixes = draw(PREFIX_LENGTHS)
    prefix_of = draw(st.lists(st.integers(-1, len(prefixes) - 1), min_size=1, max_size=12))
    lengths = draw(st.lists(st.integers(1, 30), min_size=len(prefix_of), max_size=len(prefix_of)))
    parts = np.split(np.arange(sum(lengths), dtype=np.int32), np.cumsum(lengths)[:-1])
    prefix_lengths = [prefixes[n] if n >= 0 else 0 for n in prefix_of]
    sequences = Sequences.pack(parts, np.array(prefix_of, dtype=np.int32), np.array(prefix_lengths, dtype=np.int32))
    return sequences, parts, prefixes


@given(packed_sequences())
def test_packed_sequences_hold_every_part_at_its_positions(packed: tuple) -> None:
    sequences, parts, _ = packed
    assert sorted(sequences.input_index) == list(range(len(parts)))
    for n, index in enumerate(sequences.input_index):
        start, end = sequences.starts[n : n + 2]
        assert sequences.ids[start:end].tolist() == parts[index].tolist()
        first = sequences.prefix_lengths[n]
        assert sequences.positions[start:end].tolist() == list(range(first, first + end - start))


@given(packed_sequences(), st.integers(1, 3000), st.integers(1, 8))
def test_blocks_cover_all_sequences_keep_their_bound_and_unpad_what_they_pad(
    packed: tuple, max_scores: int, step: int
) -> None:
    sequences, _, _ = packed
    covered = []
    for block in blocks(sequences, max_scores, step):
        covered += range(block.first, block.last)
        assert set(sequences.prefix_of[block.first : block.last]) == {block.prefix}
        assert 0 <= block.longest - sequences.lengths[block.first : block.last].max() < step
        assert block.longest % step == 0
        assert block.count * block.longest * (block.prefix_length + block.longest) <= max_scores or block.count == 1
        assert block.count * block.longest <= len(sequences.ids) or block.count == 1
        rows = sequences.ids[block.start : block.end]
        if block.pad_index is None:
            assert len(rows) == block.count * block.longest
        else:
            assert sequences.ids[block.pad_index][block.unpad_index].tolist() == rows.tolist()
    assert covered == list(range(len(sequences)))


@given(packed_sequences())
def test_key_rows_give_each_sequences_prefix_and_then_itself(packed: tuple) -> None:
    sequences, _, prefixes = packed
    used = [n for n in range(len(prefixes)) if n in sequences.prefix_of]
    renumbered = np.array([used.index(n) if n >= 0 else -1 for n in sequences.prefix_of], dtype=np.int32)
    sequences = replace(sequences, prefix_of=renumbered)
    prefix_ids = [np.arange(prefixes[n]) + 1000 * (n + 1) for n in used]

    keys = np.concatenate([*prefix_ids, sequences.ids])[key_rows(sequences)]

    expected = [
        np.concatenate(([] if n < 0 else prefix_ids[n], sequences.ids[start:end]))
        for n, start, end in zip(renumbered, sequences.starts[:-1], sequences.starts[1:], strict=True)
    ]
    assert keys.tolist() == np.concatenate(expected).tolist()
