"""Settings of `reranker bench http`: what is measured, with how much load. Descriptions are the options' help."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from reranker.settings import Settings

DEFAULT_SECONDS = {
    "throughput": 20.0,
    "mixed": 20.0,
    "overload": 30.0,
    "flood": 60.0,
    "hostile": 180.0,
    "soak": 300.0,
}


class HttpBenchSettings(Settings):
    """Load of all scenarios. The servers are chosen elsewhere: see `measure.Servers`."""

    seconds: PositiveFloat | None = Field(
        None, description="Seconds of load per run; by default 20, for overload 30, for flood 60, for soak 300."
    )
    rounds: PositiveInt = Field(
        3, description="Rounds of overhead, throughput and mixed; in each, every server is measured once."
    )
    requests: PositiveInt = Field(
        200,
        description="Requests per server and round in overhead; half as many in mixed, before the large ones start.",
    )
    clients: PositiveInt = Field(
        16, description="Concurrent clients in throughput and while the unloaded maximum is measured."
    )
    documents: PositiveInt = Field(
        100, description="Documents per request in throughput, and of the other keys in flood."
    )
    small_documents: PositiveInt = Field(10, description="Documents per small request in mixed and hostile.")
    large_documents: PositiveInt = Field(1_000, description="Documents per large request in mixed.")
    large_clients: PositiveInt = Field(2, description="Clients in mixed that always have one large request running.")
    mix: str = Field(
        "100",
        description="Documents per request in overload, flood and soak: SIZE, or several SIZE:WEIGHT, as in "
        "10:5,100:4,1000:1.",
    )
    factor: PositiveFloat = Field(
        10.0, description="Offered load in overload and flood, in multiples of the unloaded maximum."
    )
    soak_share: PositiveFloat = Field(0.7, description="Offered load in soak, as a share of the unloaded maximum.")
    rate: PositiveFloat | None = Field(
        None,
        description="Requests/s offered in overload and soak; by default computed from the unloaded maximum.",
    )
    flood_share: PositiveFloat = Field(
        0.3, description="Load that the other keys offer in flood, as a share of the unloaded maximum."
    )
    keys: NonNegativeInt = Field(
        0,
        description="Number of API keys that requests of overload, flood and soak use in rotation; the started "
        "server then accepts these alone. 0 sends no key.",
    )
    in_time_s: PositiveFloat = Field(
        15.0, description="Deadline of a useful answer, in seconds after the request's intended start."
    )
    timeout_s: PositiveFloat = Field(180.0, description="Seconds after which a client gives up a request.")
    seed: NonNegativeInt = Field(0, description="Seed of texts, arrivals and the order of servers.")

    def seconds_of(self, scenario: str) -> float:
        return self.seconds or DEFAULT_SECONDS[scenario]
