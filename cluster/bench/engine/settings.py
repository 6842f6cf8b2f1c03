"""Settings of `reranker bench engine`. Field descriptions are also the help of its options."""

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt

from reranker.settings import CheckpointSettings, Dtype, Settings

DEFAULT_SHAPE = "12x576"


class EngineBenchSettings(Settings):
    """Every contender gets this model, these texts and this many threads."""

    model: str | None = Field(
        None,
        description="Model, as for other commands; by default a Llama with random weights, 12 layers and width 576, "
        "which is created once and kept in the user's cache directory.",
    )
    shape: str | None = Field(
        None, description="Instead of a model: random weights in one of the shapes of `reranker model synth`."
    )
    dtype: Dtype = Field("auto", description="Dtype in which every contender computes.")
    device: str = Field("auto", description=CheckpointSettings.model_fields["device"].description)
    collection: Path | None = Field(
        None,
        description="Directory with queries.jsonl, corpus.jsonl and run.trec; by default bundled texts with the "
        "lengths of MS MARCO passages.",
    )
    documents: PositiveInt = Field(100, description="Passages per query.")
    rounds: PositiveInt = Field(
        7, description="Measured rounds, each with a new query and new passages; more average out a noisy machine."
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads of each contender; by default every core this process may use."
    )
    one_at_a_time: bool = Field(
        False, description="Load one contender at a time, for little memory; rounds are then not interleaved."
    )
    seed: NonNegativeInt = Field(0, description="Seed of the texts and of the order of contenders.")
