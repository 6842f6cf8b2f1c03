"""Settings of `reranker bench train`. Field descriptions are also the help of its options."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from reranker.settings import CheckpointSettings, Settings


class TrainBenchSettings(Settings):
    """Every contender gets this model, these groups and this many threads."""

    model: str = Field("embedded", min_length=1, description="Model that every contender trains.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Arithmetic of matrix products; weights and optimizer stay float32."
    )
    device: str = Field("auto", description=CheckpointSettings.model_fields["device"].description)
    queries: PositiveInt = Field(8, description="Queries of one optimizer step.")
    candidates: int = Field(16, ge=2, description="Candidates of a query, the first of which is its positive.")
    batch_pairs: PositiveInt = Field(
        32, description="Pairs that the contenders with padding run at once, each padded to their longest."
    )
    rounds: PositiveInt = Field(
        7, description="Measured rounds, each one step with fresh texts; more average out a noisy machine."
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads of each contender; by default every core this process may use."
    )
    seed: NonNegativeInt = Field(0, description="Seed of the texts and of the order of contenders.")
