"""Settings of the whole graph, as `args:` of a Serve config or `key=value` after `serve run`.

Ray ignores unknown keys; these settings are closed, so a misspelt key is an error at startup.
"""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from reranker.settings import AdmissionSettings, CheckpointSettings, LimitsSettings, ScorerSettings, Settings


class ShardSettings(Settings):
    """How a request is cut into shards, and how often a shard is retried."""

    max_chars: PositiveInt = Field(65_536, description="Max characters of a shard; a longer passage is one shard.")
    direct_chars: NonNegativeInt = Field(
        4_096,
        description="Shards below this many characters are tokenized by the scorer: it costs less than another hop.",
    )
    max_retries: int = Field(3, ge=0, le=10, description="Max retries of a shard whose replica was lost.")


class MetricsSettings(Settings):
    """What `/metrics` says beside our own names."""

    aliases: tuple[Literal["tei", "vllm"], ...] = Field(
        (), description="Servers whose names some metrics have too, for endpoint pickers and dashboards."
    )


class AppSettings(CheckpointSettings):
    """The root: what to serve and how. The checkpoint's settings are at the top level, for the command line."""

    strict_model: bool = Field(False, description="Refuse requests that name another model.")
    engine: ScorerSettings = ScorerSettings()
    limits: LimitsSettings = LimitsSettings()
    admission: AdmissionSettings = AdmissionSettings()
    shards: ShardSettings = ShardSettings()
    metrics: MetricsSettings = MetricsSettings()

    @model_validator(mode="after")
    def _queue_is_shorter_than_timeout(self) -> Self:
        """A request that joins a full queue must be able to meet its deadline."""
        if self.admission.queue_s * 1000 >= self.limits.timeout_ms:
            raise ValueError(
                f"admission.queue_s {self.admission.queue_s:g} lets requests wait until limits.timeout_ms "
                f"{self.limits.timeout_ms} has passed: make the queue shorter or the timeout longer"
            )
        return self

    @property
    def checkpoint(self) -> CheckpointSettings:
        """The part that tokenizer and scorer need."""
        return CheckpointSettings.model_validate(self.model_dump(include=set(CheckpointSettings.model_fields)))
