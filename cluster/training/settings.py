"""The config file of a run: what it trains, and on which machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from reranker.errors import InvalidField, InvalidFile
from reranker.training.settings import TrainingSettings

# These say where a run happens, and a resumed run may change them.
_NOT_IN_IDENTITY = {
    "output",
    "workers",
    "use_gpu",
    "local",
    "address",
    "max_failures",
    "cpus_per_worker",
    "feed",
    "checkpoint_every_steps",
}


Sharding = Literal["none", "zero2", "fsdp"]


class RunSettings(TrainingSettings):
    """TrainingSettings and the machines of the run."""

    workers: PositiveInt | tuple[PositiveInt, PositiveInt] = Field(
        1, description="Workers of Ray Train; [min, max] goes on with as many as the cluster has."
    )
    use_gpu: bool = Field(False, description="Give each worker a GPU.")
    local: bool = Field(False, description="Train in this process, on one device, without Ray.")
    sharding: Sharding = Field(
        "none",
        description="none: every worker holds the whole model; zero2: the workers share optimizer, gradients and, "
        "between steps, weights; fsdp: weights always, but for the layer at work.",
    )
    max_failures: NonNegativeInt = Field(3, description="Lost workers after which the run ends.")
    cpus_per_worker: PositiveFloat = Field(0.5, description="CPUs that Ray reserves for a worker.")
    feed: Literal["ray_data", "threads"] = Field(
        "ray_data",
        description="Who encodes the groups of a worker: tasks of Ray Data, or threads of the worker.",
    )
    address: str | None = Field(
        None, description="Running Ray cluster, 'auto' or host:port; null starts Ray on this machine."
    )

    @model_validator(mode="after")
    def _check_machines(self) -> Self:
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            raise ValueError(f"workers must be [min, max], got {list(self.workers)}")
        if self.local and (self.most_workers > 1 or self.sharding != "none"):
            raise ValueError("local trains in one process: remove workers and sharding, or set local to false")
        if self.sharding != "none" and self.student.lora is not None:
            raise ValueError(f"sharding {self.sharding} cannot merge LoRA adapters: set sharding to none")
        if self.most_workers > self.step.queries_per_step:
            raise ValueError(f"step.queries_per_step {self.step.queries_per_step} is less than workers")
        return self

    @property
    def most_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def identity(self) -> dict[str, Any]:
        """What the trained model depends on: equal for a run and the one that resumes it."""
        return self.model_dump(mode="json", exclude=_NOT_IN_IDENTITY)

    def absolute(self) -> Self:
        """The same with absolute paths, because workers run in other directories."""

        def resolved(path: str | None) -> str | None:
            return str(Path(path).resolve()) if path is not None and Path(path).exists() else path

        return self.model_copy(
            update={
                "data": str(Path(self.data).resolve()),
                "output": str(Path(self.output).resolve()),
                "student": self.student.model_copy(update={"model": resolved(self.student.model)}),
                "evaluation": self.evaluation.model_copy(update={"collection": resolved(self.evaluation.collection)}),
            }
        )


def read_run_settings(path: Path, changes: Sequence[str] = ()) -> RunSettings:
    """The settings of a YAML file, with changes such as `step.steps=100`.

    Raises InvalidFile, naming the field, or InvalidField for a change that is not NAME=VALUE.
    """
    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise InvalidFile(path, f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, dict):
        raise InvalidFile(path, "must hold names and values, such as `data: DIRECTORY`")
    for change in changes:
        _apply(given, change)
    try:
        return RunSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        got = "" if first["type"] == "missing" or not field else f", got {first['input']!r}"[:200]
        problem = first["msg"].removeprefix("Value error, ")
        raise InvalidFile(path, f"{field}: {problem}{got}" if field else problem) from None


def _apply(given: dict[Any, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    *owners, last = name.strip().split(".")
    if not equals or not last:
        raise InvalidField("--set", f"expected NAME=VALUE, such as step.steps=100, got {change!r}")
    for owner in owners:
        inner = given.setdefault(owner, {})
        if not isinstance(inner, dict):
            raise InvalidField("--set", f"{owner} holds no other settings: {change!r} cannot be set")
        given = inner
    try:
        given[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InvalidField("--set", f"{text!r} is not a value in YAML") from None
