"""The passages of a job, on disk in the order they were read, and memory-mapped: any of them at once, none in memory.

A file of Arrow record batches. A passage is known by its place, so looking one up costs no search; the operating
system keeps what is used often. docs/benchmarks.md has what it was measured against.
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
    """Appends passages to a new file; memory holds one batch. The file is whole once the context is left."""

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
        """The passage's place."""
        place = len(self)
        self._docids.append(docid)
        self._passages.append(passage)
        self._characters += passage.chars
        if len(self._docids) >= _BATCH_ROWS or self._characters >= _BATCH_CHARACTERS:
            self._flush()
        return place

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

    def take(self, places: OffsetArray) -> tuple[list[str], list[str], list[str]]:
        """places: int64 (n,). Their docids, titles and texts, each (n,)."""
        of_batch = np.searchsorted(self._ends, places, side="right")
        starts = np.concatenate(([0], self._ends))[of_batch]
        docids, titles, texts = [], [], []
        for number, row in zip(of_batch.tolist(), (places - starts).tolist(), strict=True):
            docid, title, text = self._batches[number].columns
            docids.append(docid[row].as_py())
            titles.append(title[row].as_py())
            texts.append(text[row].as_py())
        return docids, titles, texts
