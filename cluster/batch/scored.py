"""The result of one unit, as a scorer sends it to the driver."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pyarrow as pa

from cluster.batch.inputs.bad_rows import BadRow

RANKED_ROWS = pa.schema(
    [("query_id", pa.string()), ("docid", pa.string()), ("rank", pa.int32()), ("logit", pa.float32())]
)


@dataclass(frozen=True, slots=True)
class Scale:
    """What scores depend on besides the pair. Only scores of equal scale are comparable, so one job has one scale.

    checkpoint: its `checkpoint_sha256`. max_batch_tokens and workers decide which pairs share a forward pass.
    """

    model: str
    checkpoint: str | None
    template: str
    template_version: int
    max_pair_tokens: int
    dtype: str
    device: str
    max_batch_tokens: int
    workers: int

    def changes(self, now: Scale) -> str:
        """What is different in another scale, for an error."""
        was, became = asdict(self), asdict(now)
        return ", ".join(f"{name} {was[name]} (now {became[name]})" for name in was if was[name] != became[name])


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one unit, or their sum over several.

    pairs: candidates. scored: pairs left after deduplicating a query's passages. tokens: tokens of the scored pairs,
    and padding: pad tokens computed with them. empty, truncated: candidates without text, and cut to the max length.
    """

    queries: int = 0
    pairs: int = 0
    scored: int = 0
    tokens: int = 0
    padding: int = 0
    empty: int = 0
    truncated: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + its for mine, its in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall time of one unit in each stage, or its sum over several."""

    read: float = 0.0
    encode: float = 0.0
    score: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.read + other.read, self.encode + other.encode, self.score + other.score)


@dataclass(frozen=True, slots=True)
class ScoredUnit:
    """A unit's ranking, and how it was computed.

    ranked: RANKED_ROWS, query by query, best first. bad: candidates without a finite logit. worker: host:pid of the
    scorer. peak_bytes: `peak_bytes` of the scorer so far.
    """

    unit: int
    ranked: pa.Table
    bad: list[BadRow]
    scale: Scale
    counts: Counts
    seconds: Seconds
    worker: str
    peak_bytes: int = 0

    def to_row(self) -> pa.Table:
        """A table of one row, because Ray Data never splits rows."""
        facts = {
            "bad": [asdict(row) for row in self.bad],
            "scale": asdict(self.scale),
            "counts": asdict(self.counts),
            "seconds": asdict(self.seconds),
            "worker": self.worker,
            "peak_bytes": self.peak_bytes,
        }
        columns = {
            "unit": pa.array([self.unit], pa.int64()),
            "ranked": pa.array([_to_bytes(self.ranked)], pa.large_binary()),
            "facts": pa.array([json.dumps(facts)], pa.large_string()),
        }
        return pa.table(columns)

    @classmethod
    def from_row(cls, row: pa.Table) -> ScoredUnit:
        facts = json.loads(row.column("facts")[0].as_py())
        return cls(
            row.column("unit")[0].as_py(),
            pa.ipc.open_stream(row.column("ranked")[0].as_buffer()).read_all(),
            [BadRow(**fields) for fields in facts["bad"]],
            Scale(**facts["scale"]),
            Counts(**facts["counts"]),
            Seconds(**facts["seconds"]),
            facts["worker"],
            facts["peak_bytes"],
        )


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    contents: bytes = sink.getvalue().to_pybytes()
    return contents
