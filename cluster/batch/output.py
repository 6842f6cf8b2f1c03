"""The output directory of a job: one parquet part per unit, then a TREC run, and `_SUCCESS` as the last file.

Parts are written atomically and name their unit in their metadata: they are the only record of finished work. Without
`_SUCCESS` the job has not finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.batch.inputs.bad_rows import append_bad_rows
from cluster.batch.scored import Counts, Scale, ScoredUnit
from cluster.locks import locked
from reranker.errors import CannotWrite, InvalidFile, JobRefused
from reranker.files import write_atomically
from reranker.ir.runs import write_run

RUN_TAG = "dear-reranker"
_METADATA_KEY = "reranker"  # of a part's unit, scale and counts in its parquet metadata
_WRITTEN = ("job.json", "run.trec", "bad_rows.jsonl", "_SUCCESS", "report.json")


class BatchOutput:
    """The directory of one job, locked against other processes. Open it with `opened`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plan = directory / "work"
        self.counts = Counts()
        self.scale: Scale | None = None
        self._parts: dict[int, Path] = {}
        self._bad_rows: dict[int, Path] = {}
        self.rows = self.bad_rows = 0

    @classmethod
    @contextmanager
    def opened(cls, directory: Path, *, resume: bool) -> Iterator[BatchOutput]:
        """Create the directory, or open that of an earlier run. Raises InvalidFile, JobRefused, CannotWrite."""
        refuse_occupied(directory, resume=resume)
        created = not directory.exists()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidFile(directory, f"cannot be created: {error.strerror}") from None
        try:
            with locked(directory / ".lock"):
                output = cls(directory)
                output._load_parts()
                yield output
        finally:
            if created and directory.exists() and not any(directory.iterdir()):
                directory.rmdir()

    @property
    def identity(self) -> dict[str, Any] | None:
        """The identity of the job that began here, None if there is none."""
        for name in ("_SUCCESS", "job.json"):
            if (self.directory / name).is_file():
                contents: dict[str, Any] = json.loads((self.directory / name).read_bytes())
                return contents["job"] if name == "_SUCCESS" else contents
        return None

    @property
    def is_finished(self) -> bool:
        return (self.directory / "_SUCCESS").is_file()

    @property
    def units(self) -> set[int]:
        """Numbers of the finished units."""
        return set(self._parts)

    def begin(self, identity: dict[str, Any]) -> None:
        with _write_errors(self.directory):
            write_atomically(self.directory / "job.json", json.dumps(identity, indent=1) + "\n")

    def discard_unscored(self) -> None:
        """Remove all files of a job that has no finished unit."""
        if not self._parts:
            self.remove_work_files()

    def require_scale(self, scale: Scale) -> None:
        """Raises JobRefused when scores of this scale are not comparable with those of earlier units."""
        if self.scale is None:
            self.scale = scale
        if scale != self.scale:
            before, now = asdict(self.scale), asdict(scale)
            changed = [f"{name} {before[name]} (now {now[name]})" for name in now if before[name] != now[name]]
            raise JobRefused(
                f"{self.directory}: a scorer differs from earlier ones in {', '.join(changed)}. Give every node the "
                "same checkpoint, and set --dtype, --device and --threads to values that all of them support"
            )

    def commit(self, scored: ScoredUnit) -> None:
        """Write a unit: its bad rows, then its part. Raises JobRefused or CannotWrite, and then has no effect."""
        self.require_scale(scored.scale)
        facts = {"unit": scored.unit, "scale": asdict(scored.scale), "counts": asdict(scored.counts)}
        facts["bad_rows"] = len(scored.bad)
        part = self.directory / "parquet" / f"part-{scored.unit:06d}.parquet"
        with _write_errors(part):
            part.parent.mkdir(exist_ok=True)
            dead_letters = self._dead_letters(scored.unit)
            dead_letters.unlink(missing_ok=True)
            append_bad_rows(dead_letters, scored.bad)
            table = scored.ranked.replace_schema_metadata({_METADATA_KEY: json.dumps(facts)})
            temporary = part.with_name(f".{part.name}")
            with temporary.open("wb") as file:
                pq.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(part)
        self._add_part(part, facts, scored.ranked.num_rows)

    def finish(self, plan_dead_letters: Path, job: dict[str, Any], settings: dict[str, Any]) -> None:
        """Write the run and the bad rows of all units, then `_SUCCESS` with a checksum of every file.

        Equal jobs write equal files, byte for byte. Raises CannotWrite.
        """
        with _write_errors(self.directory):
            parts = [path for _, path in sorted(self._parts.items())]
            run = self.directory / "run.trec"
            write_run(run, _rankings(parts), tag=RUN_TAG)
            files = [*parts, run]
            letters = [plan_dead_letters, *(path for _, path in sorted(self._bad_rows.items()))]
            if any(path.is_file() for path in letters):
                files.append(self.directory / "bad_rows.jsonl")
                write_atomically(files[-1], (path.read_text("utf-8") for path in letters if path.is_file()))
            checksums = {str(path.relative_to(self.directory)): f"sha256:{_sha256(path)}" for path in files}
            manifest = {
                "counts": asdict(self.counts) | {"rows": self.rows, "bad_rows": self.bad_rows},
                "scale": None if self.scale is None else asdict(self.scale),
                "settings": settings,
                "job": job,
                "files": checksums,
            }
            write_atomically(self.directory / "_SUCCESS", json.dumps(manifest, indent=1) + "\n")
        self.remove_work_files()

    def remove_work_files(self) -> None:
        """Remove the files that only an unfinished job needs."""
        shutil.rmtree(self.plan, ignore_errors=True)
        (self.directory / "job.json").unlink(missing_ok=True)

    def _load_parts(self) -> None:
        """Find the finished units, and delete files that a killed process left incomplete."""
        for part in sorted((self.directory / "parquet").glob("part-*.parquet")):
            try:
                metadata = pq.read_metadata(part)
                facts = json.loads(metadata.metadata[_METADATA_KEY.encode()])
            except (KeyError, pa.ArrowException, ValueError) as error:
                raise JobRefused(f"{part} was not written by this job ({type(error).__name__}): remove it") from None
            self._add_part(part, facts, metadata.num_rows)
        for path in [*(self.directory / "parquet").glob(".part-*"), *_half_written(self.directory)]:
            path.unlink()

    def _add_part(self, part: Path, facts: dict[str, Any], rows: int) -> None:
        self.scale = self.scale or Scale(**facts["scale"])
        self.counts += Counts(**facts["counts"])
        self.rows += rows
        self.bad_rows += facts["bad_rows"]
        self._parts[facts["unit"]] = part
        if facts["bad_rows"]:
            self._bad_rows[facts["unit"]] = self._dead_letters(facts["unit"])

    def _dead_letters(self, unit: int) -> Path:
        return self.plan / f"bad_rows-{unit:06d}.jsonl"


def refuse_occupied(directory: Path, *, resume: bool) -> None:
    """Raises JobRefused unless the directory is absent or empty, or holds a job and `resume` is set."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InvalidFile(directory, "is not a directory: choose another --output, or remove it")
    names = {path.name for path in directory.iterdir()} - {".lock", *(path.name for path in _half_written(directory))}
    if "_SUCCESS" in names:
        problem = "" if resume else "holds the result of an earlier job: choose another --output, or remove it"
    elif "job.json" in names:
        problem = "" if resume else "holds an unfinished job: continue it with --resume, or choose another --output"
    else:
        problem = "is not empty and holds no job: choose another --output" if names else ""
    if problem:
        raise JobRefused(f"{directory} {problem}")


def _half_written(directory: Path) -> list[Path]:
    """Temporary files that `write_atomically` leaves behind when it is killed."""
    return [path for name in _WRITTEN for path in directory.glob(f".{name}.*")]


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Raises CannotWrite for an OSError."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"{path} cannot be written: {error.strerror or error}. Finished units are kept: continue with --resume"
        ) from error


def _rankings(parts: list[Path]) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """(query_id, docids, logits) of each query, best first; no query is split over two parts."""
    for part in parts:
        table = pq.read_table(part)
        query_ids = np.array(table.column("query_id").to_pylist(), dtype=object)
        docids, logits = table.column("docid").to_pylist(), table.column("logit").to_numpy()
        starts = [0, *(np.flatnonzero(query_ids[1:] != query_ids[:-1]) + 1).tolist(), len(query_ids)]
        for start, end in pairwise(starts):
            if end > start:
                yield query_ids[start], docids[start:end], logits[start:end]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
