"""What an earlier run has left in an output directory: which units are finished, and which files are damaged.

Knows nothing of file systems: it is given the names of the files, and two functions that read them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cluster.batch.identity import Identity, job_of
from cluster.batch.names import BAD_ROWS, JOB, RUN, SUCCESS, is_part, path_of
from cluster.batch.part import Part, decode_part
from cluster.batch.seal import is_sealed, json_object


@dataclass(frozen=True, slots=True)
class Survey:
    """begun: identity of the job that began here, None if no file says it. job: `job_of` the job whose files count.
    manifest: contents of its `_SUCCESS`, None unless that is whole. parts: those of finished units, by path. jobs:
    those of all whole parts. checksums: of all parts, and of the files that `_SUCCESS` lists. damaged: names of files
    that are not as the job wrote them, or missing. has_results: whether there are parts or `_SUCCESS`, even damaged.
    """

    begun: Identity | None = None
    job: str = ""
    manifest: dict[str, Any] | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    jobs: frozenset[str] = frozenset()
    checksums: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    has_results: bool = False


def survey(
    names: Collection[str],
    read_each: Callable[[Sequence[str]], Iterator[bytes]],
    checksum: Callable[[str], str],
    job: str = "",
) -> Survey:
    """names: paths of all files in the output. read_each, checksum: of some of them, b"" and "" for one that fails.

    job: the one whose files count; by default the one that began here, or that of the parts.
    """

    def read(name: str) -> bytes:
        return next(read_each([name])) if name in names else b""

    success = read(SUCCESS)
    manifest: dict[str, Any] | None = json_object(success) if is_sealed(success) else {}
    begun = _identity(json_object(success).get("job")) or _identity(json_object(read(JOB)))
    parts, checksums = {}, {}
    part_names = sorted(filter(is_part, names))
    for name, contents in zip(part_names, read_each(part_names), strict=True):
        checksums[name] = checksum_of(contents)
        part = decode_part(contents)
        if part is not None and path_of(part.unit) == name:
            parts[name] = part
    has_results = bool(checksums) or SUCCESS in names
    jobs = frozenset(part.job for part in parts.values())
    job = job or (job_of(begun) if begun else min(jobs, default=""))
    if manifest and manifest.keys() >= {"counts", "files", "job"} and job_of(manifest["job"]) == job:
        checksums |= {name: checksum(name) for name in (RUN, BAD_ROWS) if name in names}
        damaged = differing(checksums, manifest["files"])
    else:
        manifest = None
        damaged = [name for name in checksums if name not in parts or parts[name].job != job]
    whole = {name: part for name, part in parts.items() if name not in damaged}
    return Survey(begun, job, manifest, whole, jobs, checksums, damaged, has_results)


def differing(checksums: dict[str, str], listed: dict[str, str]) -> list[str]:
    """Names of the files that differ from what `_SUCCESS` lists, are missing, or are not listed."""
    return sorted(name for name in checksums.keys() | listed.keys() if checksums.get(name) != listed.get(name))


def checksum_of(contents: bytes) -> str:
    return f"sha256:{sha256(contents).hexdigest()}"


def _identity(value: object) -> Identity | None:
    return value if isinstance(value, dict) and value.keys() >= {"version", "inputs"} else None
