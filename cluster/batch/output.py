"""What a batch job leaves behind: parquet parts, a TREC run, and last of all `_SUCCESS`.

A directory without `_SUCCESS` is of a job that did not finish.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.errors import InvalidFile
from reranker.trec import write_atomically, write_run

RUN_TAG = "dear-reranker"


def refuse_used(directory: Path) -> None:
    """Raises InvalidFile unless a job may write there: nothing, or an empty directory."""
    if not directory.exists():
        return
    if not directory.is_dir():
        problem = "is not a directory"
    elif (directory / "_SUCCESS").is_file():
        problem = "holds the result of an earlier job"
    elif any(directory.iterdir()):
        problem = "is not empty, and no job finished there"
    else:
        return
    raise InvalidFile(directory, f"{problem}: choose another --output, or remove it")


class BatchOutput:
    """Writes into a fresh directory. Raises InvalidFile when it is not, or cannot be made."""

    def __init__(self, directory: Path) -> None:
        refuse_used(directory)
        self._directory = directory
        self._parquet = directory / "parquet"
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidFile(directory, f"cannot be made: {error.strerror}") from None
        self._parts: list[Path] = []

    def add(self, ranked: pa.Table) -> None:
        """Write whole queries (RANKED_ROWS) as the next part."""
        self._parquet.mkdir(exist_ok=True)
        part = self._parquet / f"part-{len(self._parts):06d}.parquet"
        pq.write_table(ranked, part)
        self._parts.append(part)

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the TREC run from the parts, then the manifest: facts, and a checksum of every file."""
        run = self._directory / "run.trec"
        write_run(run, self._rankings(), tag=RUN_TAG)
        files = {str(path.relative_to(self._directory)): f"sha256:{_sha256(path)}" for path in [*self._parts, run]}
        write_atomically(self._directory / "_SUCCESS", json.dumps(facts | {"files": files}, indent=1) + "\n")

    def _rankings(self) -> Iterator[tuple[str, list[str], np.ndarray]]:
        """(query_id, docids, logits) best first; a query lies whole in one part."""
        for part in self._parts:
            table = pq.read_table(part)
            query_ids = np.array(table.column("query_id").to_pylist(), dtype=object)
            docids, logits = table.column("docid").to_pylist(), table.column("logit").to_numpy()
            starts = [0, *(np.flatnonzero(query_ids[1:] != query_ids[:-1]) + 1).tolist(), len(query_ids)]
            for start, end in pairwise(starts):
                yield query_ids[start], docids[start:end], logits[start:end]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
