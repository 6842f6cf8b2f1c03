"""The output of a job: one parquet part per unit, then a TREC run, and `_SUCCESS` as the last file.

Parts are the only record of finished work. They and `_SUCCESS` hold checksums: a file that was cut, changed, replaced
or removed is found when the output is opened. Its unit is then not finished, and without it neither is the job.
Knows nothing of disks or object stores: a `Storage` keeps the files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

from cluster.batch.claim import refuse_occupied
from cluster.batch.identity import Identity, job_of, refuse_different_job
from cluster.batch.names import BAD_ROWS, JOB, REPORT, RUN, SUCCESS, path_of
from cluster.batch.part import Part, bad_rows_of, encode_part, rankings_of
from cluster.batch.scored import Counts, Scale, ScoredUnit
from cluster.batch.seal import SEAL, json_object, seal
from cluster.batch.storage import Storage
from cluster.batch.survey import Survey, checksum_of, differing, survey
from reranker.errors import CannotWrite, JobRefused
from reranker.ir.runs import run_lines

RUN_TAG = "dear-reranker"


class BatchOutput:
    """The output of one job, held against other processes. Open it with `opened`.

    counts, rows, bad_rows, queries_without_candidates: totals; the caller adds those of the plan. damaged: names of
    the files that are not as this job wrote them, or missing. plan: the local directory of the plan.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.plan = storage.plan
        self.counts = Counts()
        self.scale: Scale | None = None
        self.rows = self.bad_rows = self.queries_without_candidates = 0
        self.damaged: list[str] = []
        self._found = Survey()
        self._parts: dict[int, str] = {}  # unit -> checksum

    @classmethod
    @contextmanager
    def opened(cls, storage: Storage, *, resume: bool) -> Iterator[BatchOutput]:
        """Create the output, or open that of an earlier run. Raises as `Storage` does, and JobRefused."""
        refuse_occupied(storage, resume=resume)
        with storage.held():
            output = cls(storage)
            output._load()
            yield output

    @property
    def identity(self) -> Identity | None:
        """The identity of the job that began here, None if no file says it."""
        return self._found.begun

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The contents of `_SUCCESS`, None unless it is whole and every file is as it says."""
        return None if self.damaged else self._found.manifest

    @property
    def is_finished(self) -> bool:
        return self.manifest is not None

    @property
    def units(self) -> set[int]:
        """Numbers of the finished units."""
        return set(self._parts)

    def admit(self, identity: Identity) -> None:
        """Raises JobRefused if the output has results that are not those of this job.

        If all parts are of this job, they are believed before a `_SUCCESS` or `job.json` that says otherwise.
        """
        found, begun, job = self._found, self.identity, job_of(identity)
        if found.has_results and begun is not None and (found.jobs != {job} or job_of(begun) == job):
            refuse_different_job(begun, identity, str(self.storage))
        elif found.has_results and found.jobs != {job}:
            raise JobRefused(
                f"{self.storage}: its {SUCCESS} or {JOB} cannot be read, and its parts are not all of this job: "
                "choose another --output, or remove it"
            )
        if found.job != job:
            self._load(job)

    def begin(self, identity: Identity) -> None:
        """Begin the job or go on with it: record it, and remove damaged files and `_SUCCESS`. Raises CannotWrite."""
        with _write_errors(str(self.storage)):
            self.storage.write(JOB, f"{json.dumps(identity, indent=1)}\n".encode())
            self.storage.remove(self.damaged)
            # Last, because a part that is whole, but another than it lists, is known by that alone.
            self.storage.remove([SUCCESS])
        self.damaged = []
        self._found = Survey(identity, job_of(identity), has_results=self._found.has_results)

    def discard_unscored(self) -> None:
        """Remove all files of a job that has no finished unit."""
        if not self._found.has_results and not self._parts:
            self.remove_work_files()
            self._found = Survey()

    def require_scale(self, scale: Scale) -> None:
        """Raises JobRefused when scores of this scale are not comparable with those of earlier units.

        Nor are they this job's if the checkpoint is another one than when the job began.
        """
        begun = (self.identity or {}).get("checkpoint")
        if None not in (begun, scale.checkpoint) and begun != scale.checkpoint:
            raise JobRefused(
                f"{self.storage}: a scorer reads other weights, tokenizer or config than this job began with: give "
                "every node the same checkpoint, and leave it unchanged while the job runs"
            )
        self.scale = self.scale or scale
        if scale != self.scale:
            raise JobRefused(
                f"{self.storage}: a scorer differs from earlier ones in {self.scale.changes(scale)}. Give every "
                "node the same checkpoint, and set --dtype, --device and --threads to values that all of them support"
            )

    def commit(self, scored: ScoredUnit) -> None:
        """Write a unit's part, with its bad rows. Raises JobRefused or CannotWrite, and then has no effect."""
        self.require_scale(scored.scale)
        part, contents = encode_part(scored, self._found.job)
        name = path_of(scored.unit)
        with _write_errors(self.storage.where(name)):
            checksum = self.storage.write(name, contents)
        self._add_part(part, checksum)

    def finish(self, plan_dead_letters: Path, job: Identity, settings: dict[str, Any]) -> None:
        """Write the run and the bad rows of all units, then `_SUCCESS` with a checksum of every file.

        Equal jobs write equal files, byte for byte. Raises CannotWrite.
        """
        with _write_errors(str(self.storage)):
            files = {path_of(unit): checksum for unit, checksum in sorted(self._parts.items())}
            files |= self._write_run() | self._write_bad_rows(plan_dead_letters)
            totals = {name: getattr(self, name) for name in ("rows", "bad_rows", "queries_without_candidates")}
            manifest = {"counts": asdict(self.counts) | totals, "scale": self.scale and asdict(self.scale)}
            manifest |= {"settings": settings, "job": job, "files": files} | SEAL
            contents = seal(json.dumps(manifest, indent=1).encode() + b"\n")
            self.storage.write(SUCCESS, contents)
        self._found = replace(self._found, begun=job, manifest=json_object(contents))
        self.remove_work_files()

    def mend_run(self) -> None:
        """Write a finished job's run again if it alone is damaged: it follows from the parts. Raises CannotWrite."""
        manifest = self._found.manifest
        if manifest is not None and self.damaged == [RUN]:
            with _write_errors(str(self.storage)):
                written = self._write_run()
            self.damaged = differing(self._found.checksums | written, manifest["files"])

    def remove_work_files(self) -> None:
        """Remove the files that only an unfinished job needs. Raises CannotWrite."""
        with _write_errors(str(self.storage)):
            self.storage.remove([JOB])
        shutil.rmtree(self.plan, ignore_errors=True)

    def read_report(self) -> dict[str, Any]:
        """{} if there is none, or it cannot be read."""
        return json_object(self.storage.read(REPORT))

    def write_report(self, report: dict[str, Any]) -> None:
        """Raises CannotWrite."""
        with _write_errors(self.storage.where(REPORT)):
            self.storage.write(REPORT, f"{json.dumps(report, indent=1)}\n".encode())

    def _load(self, job: str = "") -> None:
        """Find the finished units of the job, or of the one that began here. Raises JobRefused."""
        self._found = survey(self.storage.names(), self.storage.read_each, self.storage.checksum, job)
        self.damaged = self._found.damaged
        for name, part in self._found.parts.items():
            self.scale = self.scale or part.scale
            if part.scale != self.scale:
                raise JobRefused(
                    f"{self.storage.where(name)} was scored otherwise than the parts before it: "
                    f"{self.scale.changes(part.scale)}. Scores must not be mixed: remove the parts of one kind"
                )
            self._add_part(part, self._found.checksums[name])

    def _add_part(self, part: Part, checksum: str) -> None:
        self.counts += part.counts
        self.rows += part.rows
        self.bad_rows += part.bad_rows
        self._parts[part.unit] = checksum

    def _contents(self) -> Iterator[bytes]:
        """The contents of all parts, by unit. Raises CannotWrite if they are no longer what was written."""
        names = {path_of(unit): checksum for unit, checksum in sorted(self._parts.items())}
        for (name, checksum), contents in zip(names.items(), self.storage.read_each(list(names)), strict=True):
            if checksum_of(contents) != checksum:
                raise CannotWrite(
                    f"{self.storage.where(name)} has changed since it was written: continue with --resume, which "
                    "scores its unit again"
                )
            yield contents

    def _write_run(self) -> dict[str, str]:
        """Write the file; returns its checksum by name, as `_write_bad_rows` does."""
        rankings = (ranking for contents in self._contents() for ranking in rankings_of(contents))
        return {RUN: self.storage.write(RUN, run_lines(rankings, tag=RUN_TAG))}

    def _write_bad_rows(self, plan_dead_letters: Path) -> dict[str, str]:
        """No file, and {}, if there are no bad rows."""
        planned = [plan_dead_letters.read_text("utf-8")] if plan_dead_letters.is_file() else []
        if not planned and not self.bad_rows:
            self.storage.remove([BAD_ROWS])
            return {}
        scored = (row for contents in self._contents() for row in bad_rows_of(contents))
        return {BAD_ROWS: self.storage.write(BAD_ROWS, chain(planned, scored))}


@contextmanager
def _write_errors(where: str) -> Iterator[None]:
    """Raises CannotWrite for an OSError."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(
            f"{where} cannot be written: {error.strerror or error}. Finished units are kept: continue with --resume"
        ) from error
