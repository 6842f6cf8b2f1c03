"""Settings of `reranker plan`. Descriptions are the options' help."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cluster.planning.demand import SHARD_CHARS
from reranker.settings import Settings

GpuName = Literal["all", "l4", "a10g", "4090", "a100", "h100", "h200", "b200", "cpu"]
# Bounds far beyond any use, so that no figure overflows.
Positive = Annotated[float, Field(ge=1e-6, le=1e12)]
Price = Annotated[float, Field(ge=0, le=1e9)]
Count = Annotated[int, Field(gt=0, le=10**6)]
Large = Annotated[int, Field(gt=0, le=10**15)]


class PlanSettings(Settings):
    """What is asked, and of which machines."""

    model: str = Field(
        "abdoelsayed/dear-8b-reranker-ranknet-v1",
        min_length=1,
        description="Model: 'embedded', a directory with a config.json, a known hub id, or a shape of `model synth`. "
        "Only its sizes are read.",
    )
    requests_per_s: Positive | None = Field(None, description="Requests per second at the busiest time.")
    documents: Count = Field(100, description="Documents of one request or, in a job, of one query.")
    tokens: Count = Field(85, description="Tokens of a document, on average.")
    query_tokens: Count = Field(16, description="Tokens before the document in a pair: query and template.")
    p99_ms: Positive | None = Field(None, description="Time within which 99 of 100 requests must be answered.")
    gpu: GpuName = Field("all", description="GPU: l4, a10g, 4090, a100, h100, h200, b200, cpu, or all GPUs.")
    price_per_hour: Price | None = Field(None, description="Price per hour of one GPU with its machine.")
    tokens_per_s: Positive | None = Field(
        None,
        description="Speed of one replica, in tokens of pairs, as /health and bench engine show it; by default "
        "assumed from the GPU's peak.",
    )
    shard_chars: Large = Field(
        SHARD_CHARS, description="The graph's shards.max_chars: longer requests are spread over several replicas."
    )
    pairs: Large | None = Field(None, description="Pairs of the job.")
    gpus: Count = Field(1, description="GPUs of the job.")
