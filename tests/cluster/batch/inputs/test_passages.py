"""The passage store returns passages as they were written, from any positions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.inputs import passages
from cluster.batch.inputs.passages import PassageReader, PassageWriter
from reranker.types import Passage

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
STORED = st.lists(st.tuples(TEXTS, st.builds(Passage, TEXTS, TEXTS)), min_size=1, max_size=40)


def write(path: Path, stored: list[tuple[str, Passage]]) -> list[int]:
    """Write the passages. Returns their positions."""
    with PassageWriter(path) as writer:
        positions = [writer.append(docid, passage) for docid, passage in stored]
        assert len(writer) == len(stored)
    return positions


def taken(reader: PassageReader, positions: list[int]) -> list[tuple[str, Passage]]:
    columns = reader.take(np.array(positions, dtype=np.int64))
    return [(docid, Passage(text, title)) for docid, title, text in zip(*columns, strict=True)]


@pytest.fixture(scope="module", params=[(8_192, 2**24), (3, 2**24), (8_192, 20)])
def batches(request: pytest.FixtureRequest) -> Iterator[None]:
    """Max rows and characters per batch; with small batches, hypothesis' lists span several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passages, "_BATCH_ROWS", request.param[0])
        patch.setattr(passages, "_BATCH_CHARACTERS", request.param[1])
        yield


@pytest.mark.usefixtures("batches")
@given(stored=STORED, data=st.data())
def test_store_returns_passages_from_any_positions(
    stored: list[tuple[str, Passage]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "passages.arrow"
    path.unlink(missing_ok=True)  # the file of the example before is still mapped, so it must not be overwritten
    assert write(path, stored) == list(range(len(stored)))
    reader = PassageReader(path)
    positions = data.draw(st.lists(st.integers(0, len(stored) - 1), max_size=60))
    assert taken(reader, positions) == [stored[position] for position in positions]
    assert taken(reader, list(range(len(stored)))) == stored


def test_store_returns_huge_and_empty_texts(tmp_path: Path) -> None:
    texts = ["", "é" * 2**20, "\0", "𝄞" * 2**18, "\r\n\t ", ""]
    stored = [(f"d{n}", Passage(text, text[:3])) for n, text in enumerate(texts)]
    write(tmp_path / "passages.arrow", stored)
    reader = PassageReader(tmp_path / "passages.arrow")
    assert taken(reader, [5, 3, 3, 1, 0, 2, 4]) == [stored[position] for position in (5, 3, 3, 1, 0, 2, 4)]


def test_store_takes_no_positions(tmp_path: Path) -> None:
    write(tmp_path / "some.arrow", [("d", Passage("text"))])
    write(tmp_path / "none.arrow", [])
    for name in ("some.arrow", "none.arrow"):
        assert taken(PassageReader(tmp_path / name), []) == []


def test_writer_writes_batches_before_it_is_closed(tmp_path: Path) -> None:
    """The file grows while passages are appended, so that memory holds one batch only."""
    text = "x" * 2**18
    with PassageWriter(tmp_path / "passages.arrow") as writer:
        for n in range(200):
            writer.append(f"d{n}", Passage(text))
        assert (tmp_path / "passages.arrow").stat().st_size > 200 * 2**18 - 2**25
