"""Settings of the whole graph, as `args:` of a Serve config or `key=value` after `serve run`.

Ray ignores unknown keys; these settings are closed, so a misspelt key is an error at startup.
"""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from reranker.settings import AdmissionSettings, CheckpointSettings, LimitsSettings, ScorerSettings, Settings

# A host in lower case, without its scheme's usual port: browsers send no other form.
_ORIGIN = re.compile(r"(http(?!.*:80$)|https(?!.*:443$))://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


class ShardSettings(Settings):
    """How a request is cut into shards, and how often a shard is retried."""

    max_chars: PositiveInt = Field(65_536, description="Max characters of a shard; a longer passage is one shard.")
    direct_chars: NonNegativeInt = Field(
        4_096,
        description="Shards below this many characters are tokenized by the scorer: it costs less than another hop.",
    )
    max_retries: int = Field(3, ge=0, le=10, description="Max retries of a shard whose replica was lost.")


class HttpSettings(Settings):
    """What the HTTP interface allows beside requests of its own clients."""

    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose web pages may call the endpoint, like https://app.example; '*' allows all."
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins_as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"cors_origins: {origin!r:.80} is no origin: write scheme, host and port as browsers do, "
                    "like https://app.example or http://localhost:3000, or '*' for all"
                )
        if "*" in origins and len(origins) > 1:
            raise ValueError("cors_origins: '*' allows all origins: name no others beside it")
        return origins


class AuthSettings(Settings):
    """Who may call the endpoint. Without keys it answers anybody, on loopback addresses only."""

    keys_file: Path | None = Field(
        None, description="File of API keys, as `reranker key new` writes it; read again when it changes."
    )
    allow_no_keys: bool = Field(False, description="Without keys, answer requests from other machines as well.")
    open_pages: bool = Field(False, description="Serve pages (documentation, playground, models) to anybody.")
    open_metrics: bool = Field(False, description="Serve /metrics to anybody, instead of to admin keys only.")

    @model_validator(mode="after")
    def _path_is_the_same_for_every_replica(self) -> Self:
        if self.keys_file is not None and not self.keys_file.is_absolute():
            raise ValueError(
                f"keys_file '{self.keys_file}' is a relative path, and each replica runs in a directory of its own: "
                "give an absolute one"
            )
        return self


class MetricsSettings(Settings):
    """What `/metrics` says beside our own names."""

    aliases: tuple[Literal["tei", "vllm"], ...] = Field(
        (), description="Servers whose names some metrics have too, for endpoint pickers and dashboards."
    )


class LogSettings(Settings):
    """What the log says of requests."""

    requests: bool = Field(True, description="Write one line for each request to a dialect's path.")
    max_lines_per_s: PositiveInt = Field(
        100, description="Max such lines per second of a gateway; the next one says how many were left out."
    )


class TracingSettings(Settings):
    """Spans of requests. Where they go, and what is sampled, is said by OpenTelemetry's environment variables."""

    enabled: bool = Field(False, description="Export OpenTelemetry spans of requests; needs the extra `otel`.")


class AppSettings(CheckpointSettings):
    """The root: what to serve and how. The checkpoint's settings are at the top level, for the command line."""

    strict_model: bool = Field(False, description="Refuse requests that name another model.")
    engine: ScorerSettings = ScorerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitsSettings = LimitsSettings()
    admission: AdmissionSettings = AdmissionSettings()
    shards: ShardSettings = ShardSettings()
    http: HttpSettings = HttpSettings()
    metrics: MetricsSettings = MetricsSettings()
    logs: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

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
