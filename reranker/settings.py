"""Settings of the parts: small, frozen, closed and bounded. They do no I/O.

Each part gets only its own settings class; deployments and cluster compose these into theirs.
"""

import logging
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

log = logging.getLogger(__name__)

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, and instances are immutable.

    renamed_fields: old name -> new name. renamed_values: field -> (old value -> new value). Old names work for one
    release, with a warning that names the new one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    renamed_fields: ClassVar[Mapping[str, str]] = {}
    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        settings = dict(given)
        for old, new in cls.renamed_fields.items():
            if old in settings and new not in settings:
                log.warning("setting %s is now called %s: the old name works until the next release", old, new)
                settings[new] = settings.pop(old)
        for field, values in cls.renamed_values.items():
            value = settings.get(field)
            if isinstance(value, str) and value in values:
                settings[field] = new = values[value]
                log.warning("%s: %s is now called %s: the old name works until the next release", field, value, new)
        return settings


class CheckpointSettings(Settings):
    """Which weights to serve, and how their pairs are written."""

    renamed_values = {"template": {"plain": "bare"}}

    model: str = Field(
        "embedded",
        min_length=1,
        description="Model: 'embedded', a checkpoint or adapter directory, or a hub id.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub id.")
    recipe: str = Field(
        "auto",
        min_length=1,
        description="How pairs are written and scores are read: 'auto' (as the checkpoint or its authors say), the "
        "name of a known recipe (`reranker model list`), or a YAML file with one.",
    )
    instruction: str | None = Field(
        None,
        description="Instruction of requests that bring none, for models that take one; by default the recipe's.",
    )
    template: Literal["auto", "dear", "bare"] = Field(
        "auto", description="Pair template: 'auto' (the checkpoint's own), 'dear' or 'bare'."
    )
    max_pair_tokens: PositiveInt | None = Field(
        None, description="Max tokens of query and passage together; by default the checkpoint's own limit."
    )
    pooling: Literal["auto", "last", "padded"] = Field(
        "auto",
        description="Where a causal model's logit is read: 'last' (the pair's last token), 'padded' (as Hugging Face "
        "reads pairs padded to the max length), or 'auto' (the checkpoint's own).",
    )
    dtype: Dtype = Field(
        "auto",
        description="Dtype of the weights: 'auto' (the checkpoint's own if the device is fast in it), 'float32', "
        "'bfloat16' or 'float16'.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Device: 'auto' (CUDA if available), 'cpu', 'cuda', 'cuda:N' or 'mps'.",
    )
    trust_remote_code: bool = Field(False, description="Run Python that ships with a checkpoint. Leave it off.")

    @property
    def model_name(self) -> str:
        """The model's name for clients: a hub id unchanged, a path's last part."""
        is_path = self.model.startswith(("/", ".", "~"))
        return (PurePath(self.model).name if is_path else self.model) or self.model


class EngineSettings(Settings):
    """How forward passes run."""

    renamed_values = {"forward": {"plain": "huggingface"}}

    max_batch_tokens: PositiveInt | None = Field(
        None, description="Max tokens on the device at once; by default chosen for the device and its memory."
    )
    forward: Literal["auto", "huggingface"] = Field(
        "auto",
        description="Forward pass: 'auto' (our fast one if the architecture has one) or 'huggingface'.",
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads that score; by default every core this process may use."
    )
    deterministic: bool = Field(
        False, description="Score each pair in a pass of its own, so its score cannot depend on the batch. Slow."
    )
    simulated_tokens_per_s: PositiveFloat | None = Field(
        None, description="For benchmarks: load no weights, sleep as a device of this speed would, invent the scores."
    )


class ScorerSettings(EngineSettings):
    """How forward passes run where requests wait for them."""

    max_pass_ms: PositiveFloat = Field(
        300.0,
        description="Max time of a batch, which nothing can interrupt: its tokens are chosen from passes measured at "
        "startup, unless max_batch_tokens or deterministic is set.",
    )

    @property
    def max_pass_s(self) -> float | None:
        """None if the tokens of a batch are fixed."""
        return None if self.deterministic or self.max_batch_tokens is not None else self.max_pass_ms / 1000


class LimitsSettings(Settings):
    """Limits of one request. A request over a limit is refused, never shortened."""

    max_documents: PositiveInt = Field(10_000, description="Max documents of one request.")
    max_body_bytes: PositiveInt = Field(64 * 2**20, description="Max bytes of one request body.")
    max_json_values: PositiveInt = Field(
        200_000, description="Max JSON values of one request body: its documents, and all fields of each."
    )
    max_bytes_in_flight: PositiveInt = Field(
        192 * 2**20,
        description="Max bytes of request bodies that one gateway holds, and that one proxy keeps for a retry.",
    )
    max_header_bytes: PositiveInt = Field(32 * 2**10, description="Max bytes of all headers of one request.")
    body_timeout_ms: PositiveInt = Field(30_000, description="Max time for a request body to arrive.")
    timeout_ms: PositiveInt = Field(120_000, description="Max time for an answer; a request may ask for less.")

    @model_validator(mode="after")
    def _largest_body_fits_in_flight(self) -> Self:
        """One client alone may hold three quarters of the bytes in flight."""
        if self.max_body_bytes > self.max_bytes_in_flight * 3 // 4:
            raise ValueError(
                f"max_body_bytes {self.max_body_bytes} is more than three quarters of max_bytes_in_flight "
                f"{self.max_bytes_in_flight}, the share of one client: allow smaller bodies or more bytes in flight"
            )
        return self


class AdmissionSettings(Settings):
    """How much work may be queued. A request beyond it is refused at once, with the time to retry after."""

    queue_s: PositiveFloat = Field(
        10.0, description="Max queued work, in seconds of all replicas' measured throughput."
    )
    client_share: PositiveFloat = Field(
        3.0,
        description="Max queued work of one client, as a multiple of the room left in the queue. At 3, a lone client "
        "can fill 3/4 of the queue, and two clients 3/7 each; the rest stays free for others.",
    )
    without_scorer: Literal["wait", "refuse"] = Field(
        "wait",
        description="What a request does that finds no scorer running, one being started for it: wait, at most its "
        "timeout, or be refused with the time to retry after.",
    )
