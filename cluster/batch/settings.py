"""Settings of one batch job."""

from pathlib import Path

from pydantic import Field, PositiveInt

from reranker.settings import CheckpointSettings, EngineSettings, Settings


class BatchSettings(Settings):
    """What to rerank, with which model, and where the result goes."""

    queries: Path = Field(description="Queries: jsonl or parquet with _id and text.")
    corpus: Path = Field(description="Passages: jsonl or parquet with _id, title and text.")
    run: Path = Field(description="First stage: a TREC run.")
    output: Path = Field(description="A directory that does not exist yet, or is empty.")
    top_k: PositiveInt | None = Field(None, description="Candidates kept of each query; None keeps all.")
    allow_missing: bool = Field(False, description="Leave out queries and passages of the run that are in no file.")
    address: str | None = Field(None, description="A running Ray cluster; None starts one on this machine.")
    scorers: PositiveInt = Field(1, description="Scorer actors; each takes a card where the device is CUDA.")
    checkpoint: CheckpointSettings = CheckpointSettings()
    engine: EngineSettings = EngineSettings()
