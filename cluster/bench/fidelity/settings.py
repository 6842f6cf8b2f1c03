"""Settings of `reranker bench fidelity`. Field descriptions are also the help of its options."""

from pydantic import Field, NonNegativeInt, PositiveInt

from reranker.settings import Settings


class FidelityBenchSettings(Settings):
    """Random weights in a real model's shape, cut to few layers."""

    layers: PositiveInt = Field(3, description="Layers of each model; widths and heads are those of the real one.")
    vocabulary: PositiveInt = Field(16_384, description="Max rows of each vocabulary.")
    pairs: PositiveInt = Field(500, description="Pairs that are scored.")
    max_pair_tokens: PositiveInt = Field(
        384, description="Max tokens of a pair, so that some pairs are cut; a recipe's own limit if that is lower."
    )
    seed: NonNegativeInt = Field(0, description="Seed of the weights and of the texts.")
