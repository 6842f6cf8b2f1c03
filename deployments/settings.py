"""Settings of the whole graph, as `args:` of a Serve config or `key=value` after `serve run`.

Ray ignores keys it does not know; these are closed, so a misspelt one is an error at start.
"""

from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from reranker.settings import AdmissionSettings, CheckpointSettings, EngineSettings, LimitsSettings, Settings


class ShardSettings(Settings):
    """How a request is cut up for the replicas."""

    max_chars: PositiveInt = Field(65_536, description="Characters of one shard; one longer passage is a shard.")
    direct_chars: NonNegativeInt = Field(
        4_096,
        description="A smaller shard goes straight to the scorer, which tokenizes it: a hop costs more than that.",
    )
    max_retries: int = Field(3, ge=0, le=10, description="How often a shard is sent again when its replica is lost.")


class AppSettings(CheckpointSettings):
    """The root: what to serve and how. The checkpoint's settings stand at the top level, for the command line."""

    strict_model: bool = Field(False, description="Refuse requests that name another model.")
    engine: EngineSettings = EngineSettings()
    limits: LimitsSettings = LimitsSettings()
    admission: AdmissionSettings = AdmissionSettings()
    shards: ShardSettings = ShardSettings()

    @model_validator(mode="after")
    def _work_ends_in_time(self) -> Self:
        """Whoever waits longest in a full queue must still be in time."""
        if self.admission.queue_s * 1000 >= self.limits.timeout_ms:
            raise ValueError(
                f"admission.queue_s {self.admission.queue_s:g} lets requests wait as long as limits.timeout_ms "
                f"{self.limits.timeout_ms} allows them to live: make the queue shorter or the timeout longer"
            )
        return self

    @property
    def checkpoint(self) -> CheckpointSettings:
        """The slice that tokenizer and scorer get."""
        return CheckpointSettings.model_validate(self.model_dump(include=set(CheckpointSettings.model_fields)))
