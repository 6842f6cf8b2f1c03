"""Options are declared once, as fields of a settings class; commands get values that the class accepts."""

from typing import Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from cluster.batch.settings import BatchSettings
from cluster.cli.main import app
from cluster.cli.options import MODEL_FIELDS, options_of
from reranker.settings import CheckpointSettings, Settings


class Inner(Settings):
    max_tokens: int | None = Field(None, gt=0, description="Max tokens of the inner part.")


class Outer(Settings):
    name: str = Field(description="Name of the outer part.")
    level: int = Field(3, description="Level of the outer part.")
    fast: bool = Field(False, description="Run fast.")
    inner: Inner = Inner()


def values_of(*args: str) -> dict[str, Any]:
    """What a command receives from the given arguments."""
    received: list[Any] = []
    outer = typer.Typer(add_completion=False)

    @outer.command()
    @options_of(Outer, {"Options": ("name", "level", "fast"), "Inner": ("inner.max_tokens",)})
    def command(options: dict[str, Any], own: int = 7) -> None:
        """Receive the options."""
        received.extend([options, own])

    done = CliRunner().invoke(outer, args)
    assert done.exit_code == 0, done.output
    assert received[1] == 7
    return received[0]


def test_options_of_gives_defaults_of_the_fields() -> None:
    options = values_of("--name", "x")
    assert options == {"name": "x", "level": 3, "fast": False, "inner": {"max_tokens": None}}
    assert Outer.model_validate(options) == Outer(name="x")


def test_options_of_gives_parsed_values_nested_as_the_settings() -> None:
    options = values_of("--name", "x", "--level", "5", "--fast", "--max-tokens", "0")
    assert options == {"name": "x", "level": 5, "fast": True, "inner": {"max_tokens": 0}}
    with pytest.raises(ValueError, match="Input should be greater than 0"):
        Outer.model_validate(options)


@pytest.mark.parametrize("command", ["batch", "rerank", "model import", "evaluate suite"])
def test_help_of_a_shared_option_is_the_field_s_description(command: str) -> None:
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    helps = {parameter.name: parameter.help for parameter in found.params if hasattr(parameter, "help")}
    fields = {name: CheckpointSettings.model_fields[name] for name in MODEL_FIELDS}
    if command == "batch":
        fields |= {name: field for name, field in BatchSettings.model_fields.items() if name in helps}
        assert BatchSettings.model_fields.keys() - helps.keys() == {"checkpoint", "engine"}
    shared = fields.keys() & helps.keys()
    assert len(shared) >= 3
    assert {name: helps[name] for name in shared} == {name: fields[name].description for name in shared}
