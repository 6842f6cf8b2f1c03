"""Settings of `reranker bench batch`. Field descriptions are also the help of its options."""

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt

from reranker.settings import CheckpointSettings, Settings


class BatchBenchSettings(Settings):
    """rows: input sizes of the memory part; scorers: pool sizes of the scaling part. Empty: the part is skipped."""

    checkpoint: CheckpointSettings = CheckpointSettings()
    collection: Path | None = Field(
        None,
        description="Directory with queries.jsonl, corpus.jsonl and run.trec for the throughput part; by default 40 "
        "bundled queries.",
    )
    depth: PositiveInt = Field(100, description="Candidates per query in the throughput part.")
    rounds: NonNegativeInt = Field(
        3, description="Rounds of the throughput part, each of the engine and then the job; 0 skips the part."
    )
    rows: tuple[PositiveInt, ...] = (10_000, 100_000, 1_000_000)
    scorers: tuple[PositiveInt, ...] = (1, 2, 4, 8)
