"""Settings of the parts: small, frozen, closed and bounded. They do no I/O.

Each part gets its own slice, never a root; the shells compose these into theirs.
"""

import logging
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

log = logging.getLogger(__name__)

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Settings(BaseModel):
    """Base of every settings class: an unknown key is an error, and nothing changes after it is built.

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
    template: Literal["auto", "dear", "bare"] = Field(
        "auto", description="Pair template: 'auto' (the checkpoint's own), 'dear' or 'bare'."
    )
    max_pair_tokens: PositiveInt | None = Field(
        None, description="Max tokens of query and passage together; by default the checkpoint's own limit."
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
        """What clients call the model: a hub id as it is, a path by its last part."""
        is_path = self.model.startswith(("/", ".", "~"))
        return (PurePath(self.model).name if is_path else self.model) or self.model


class EngineSettings(Settings):
    """How forward passes run."""

    renamed_values = {"forward": {"plain": "huggingface"}}

    max_batch_tokens: PositiveInt | None = Field(
        None, description="Tokens on the device at once; None takes what suits it and fits its memory."
    )
    forward: Literal["auto", "huggingface"] = Field(
        "auto",
        description="'auto': a fast forward of our own where the architecture has one; 'huggingface': its own.",
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads that score; by default every core this process may use."
    )
    deterministic: bool = Field(
        False, description="Score each pair alone, so that its score cannot depend on the batch. Slow."
    )
    simulated_tokens_per_s: PositiveFloat | None = Field(
        None, description="For benchmarks: load no weights, take this long instead, and make scores up."
    )


class LimitsSettings(Settings):
    """What one request may carry. A request over a limit is refused, never cut."""

    max_documents: PositiveInt = Field(10_000, description="Documents of one request.")
    max_body_bytes: PositiveInt = Field(64 * 2**20, description="Bytes of one request body.")
    timeout_ms: PositiveInt = Field(120_000, description="Longest wait for an answer; a request may ask for less.")


class AdmissionSettings(Settings):
    """How much work may wait. What would exceed it is refused at once, with the time to come again."""

    queue_s: PositiveFloat = Field(
        10.0, description="Seconds that all replicas together need for what is queued, at the speed they have shown."
    )
    client_share: PositiveFloat = Field(
        3.0,
        description="A client may hold so many times the room that is left: at 3, one alone 3 / 4 of the queue, two "
        "of them 3 / 7 each. The rest stays free for others.",
    )
