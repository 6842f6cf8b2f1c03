"""The passage store of a job: a memory-mapped Arrow file with random access by position.

A passage is addressed by the position at which it was written, so a lookup needs no search, and the page cache keeps
passages that are used often. docs/benchmarks.md compares the alternatives.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from reranker.pairs import OffsetArray
from reranker.types import Passage

_SCHEMA = pa.schema([("docid", pa.string()), ("title", pa.large_string()), ("text", pa.large_string())])
_BATCH_ROWS = 8_192
_BATCH_CHARACTERS = 2**24


class PassageWriter:
    """Appends passages to a new file, with one batch in memory. The file is complete when the context exits."""

    def __init__(self, path: Path) -> None:
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, _SCHEMA)
        self._docids: list[str] = []
        self._passages: list[Passage] = []
        self._characters = 0
        self._written = 0

    def __len__(self) -> int:
        return self._written + len(self._docids)

    def append(self, docid: str, passage: Passage) -> int:
        """Returns the passage's position."""
        position = len(self)
        self._docids.append(docid)
        self._passages.append(passage)
        self._characters += passage.chars
        if len(self._docids) >= _BATCH_ROWS or self._characters >= _BATCH_CHARACTERS:
            self._flush()
        return position

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
            self._writer.close()
        finally:
            self._sink.close()

    def _flush(self) -> None:
        titles = [passage.title for passage in self._passages]
        texts = [passage.text for passage in self._passages]
        self._writer.write_batch(pa.record_batch([self._docids, titles, texts], schema=_SCHEMA))
        self._written += len(self._docids)
        self._docids, self._passages, self._characters = [], [], 0


class PassageReader:
    """Random access to a file that PassageWriter wrote."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._ends = np.cumsum([batch.num_rows for batch in self._batches])

    def take(self, positions: OffsetArray) -> tuple[list[str], list[str], list[str]]:
        """Docids, titles and texts, each (n,), of the passages at these positions, int64 (n,)."""
        batches = np.searchsorted(self._ends, positions, side="right")
        starts = np.concatenate(([0], self._ends))[batches]
        docids, titles, texts = [], [], []
        for number, row in zip(batches.tolist(), (positions - starts).tolist(), strict=True):
            docid, title, text = self._batches[number].columns
            docids.append(docid[row].as_py())
            titles.append(title[row].as_py())
            texts.append(text[row].as_py())
        return docids, titles, texts
