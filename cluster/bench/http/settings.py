"""What `reranker bench http` measures, and with how much load."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from reranker.settings import Settings

# A GPU that reads this many tokens a second does 400 pairs of MS MARCO's length: what an 8B does on a large one.
SIMULATED_TOKENS_PER_S = 40_000.0
# Where `seconds` is None.
SECONDS = {"throughput": 20.0, "mixed": 20.0, "overload": 30.0, "soak": 300.0}


class HttpBenchSettings(Settings):
    """One run of the bench; the servers and the engine are told apart."""

    seconds: PositiveFloat | None = Field(None, description="Of load a run; None takes each scenario's own.")
    rounds: PositiveInt = Field(3, description="Of overhead, throughput and mixed, contenders in turns.")
    requests: PositiveInt = Field(200, description="For each contender in a round of overhead.")
    clients: PositiveInt = Field(16, description="That throughput and the unloaded maximum are measured with.")
    documents: PositiveInt = Field(100, description="Of one request in throughput.")
    small_documents: PositiveInt = Field(10, description="Of the requests whose latency `mixed` is about.")
    large_documents: PositiveInt = Field(1_000, description="Of those beside them.")
    large_clients: PositiveInt = Field(2, description="That send large ones all the time.")
    mix: str = Field("100", description="Sizes in overload and soak: SIZE or SIZE:WEIGHT, with commas.")
    factor: PositiveFloat = Field(10.0, description="Overload over the unloaded maximum.")
    soak_share: PositiveFloat = Field(0.7, description="Load of the soak over the unloaded maximum.")
    rate: PositiveFloat | None = Field(
        None, description="Requests/s of overload and soak; None takes what factor and share say."
    )
    keys: NonNegativeInt = Field(0, description="API keys that send overload and soak in turns; 0 sends none.")
    in_time_s: PositiveFloat = Field(
        10.0, description="An answer later than this after its intended start is no use."
    )
    timeout_s: PositiveFloat = Field(180.0, description="After which a client gives up.")
    seed: NonNegativeInt = Field(0, description="Of texts, arrivals and order.")

    def seconds_of(self, scenario: str) -> float:
        return self.seconds or SECONDS[scenario]
