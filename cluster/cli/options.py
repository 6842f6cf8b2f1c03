"""What several commands share: options declared once as fields of a settings class, JSON reports, lists of names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from reranker.errors import InvalidField
from reranker.settings import CheckpointSettings, EngineSettings, Settings

if TYPE_CHECKING:
    from rich.console import Console

MODEL_PANEL = "Model"
_PAIR_FIELDS = ("recipe", "instruction", "template", "max_pair_tokens", "pooling")
MODEL_FIELDS = ("model", *_PAIR_FIELDS, "dtype", "device", "revision")
_SHORT_FLAGS = {"model": ["-m"]}

Command = Callable[..., None]


def options_of(settings: type[Settings], panels: Mapping[str, Sequence[str]]) -> Callable[[Command], Command]:
    """Decorator that adds an option for each of these settings fields to a command.

    Name, type, default and help of an option come from its field. The command receives all values in its first
    parameter, a dict for `settings.model_validate`, which also checks bounds and choices. panels: title of a panel in
    --help -> fields; "checkpoint.model" is a field of the nested class in `checkpoint`.
    """
    added = [_parameter(settings, path, panel) for panel, paths in panels.items() for path in paths]
    paths = [path.rpartition(".") for paths in panels.values() for path in paths]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            options: dict[str, Any] = {}
            for owner, _, name in paths:
                values = options.setdefault(owner, {}) if owner else options
                values[name] = given.pop(name)
            command(options, **given)

        signature = inspect.signature(command, eval_str=True)
        own = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()][1:]
        run.__signature__ = signature.replace(parameters=[*added, *own])  # type: ignore[attr-defined]
        return run

    return decorate


def _parameter(settings: type[Settings], path: str, panel: str) -> inspect.Parameter:
    owner, _, name = path.rpartition(".")
    kind: Any = settings.model_fields[owner].annotation if owner else settings
    field = kind.model_fields[name]
    flags = [f"--{name.replace('_', '-')}", *_SHORT_FLAGS.get(name, [])]
    option = typer.Option(*flags, help=field.description, rich_help_panel=panel)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.is_required() else field.default,
        annotation=Annotated[_parsed_type(field.annotation), option],
    )


def _parsed_type(annotation: Any) -> Any:
    """The type for typer: without bounds, and str for a choice, because pydantic checks both."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _parsed_type(args[0])
    if origin in (Union, UnionType):
        return _parsed_type(next(arg for arg in args if arg is not NoneType)) | None
    return str if origin is Literal else annotation


def _help(name: str) -> str | None:
    return CheckpointSettings.model_fields[name].description


# For commands that take some of the model's options, with defaults of their own.
Model = Annotated[str, typer.Option("--model", "-m", help=_help("model"), rich_help_panel=MODEL_PANEL)]
Dtype = Annotated[str, typer.Option(help=_help("dtype"), rich_help_panel=MODEL_PANEL)]
Device = Annotated[str, typer.Option(help=_help("device"), rich_help_panel=MODEL_PANEL)]
Forward = Annotated[
    str, typer.Option(help=EngineSettings.model_fields["forward"].description, rich_help_panel=MODEL_PANEL)
]

Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file; '-' is stdout.")]


def reported(measure: Callable[[Console], dict[str, Any]], json_path: Path | None) -> dict[str, Any]:
    """Run a measurement with a console on stderr, and write its figures to `json_path` if one is given."""
    import json

    from rich.console import Console

    result = measure(Console(stderr=True))
    text = json.dumps(result, indent=1)
    if json_path == Path("-"):
        print(text)
    elif json_path is not None:
        json_path.write_text(text + "\n")
    return result


def names_in(option: str, text: str, known: Collection[str]) -> list[str]:
    """The names in a comma-separated list, without repetition, in order. Raises InvalidField for an unknown name."""
    names = list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    for name in names:
        if name not in known:
            raise InvalidField(option, f"{name!r} is not known: use any of {','.join(known)}")
    return names
