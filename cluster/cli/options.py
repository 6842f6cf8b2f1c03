"""What several commands share: options of the model, JSON figures, lists with commas."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reranker.errors import InvalidField

if TYPE_CHECKING:
    from rich.console import Console

_MODEL = "Model"

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="'embedded', a checkpoint directory, or a hub id.", rich_help_panel=_MODEL),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.", rich_help_panel=_MODEL)]
Template = Annotated[str, typer.Option(help="How pairs are written: auto, dear or bare.", rich_help_panel=_MODEL)]
MaxPairTokens = Annotated[
    int | None,
    typer.Option(help="Tokens of query and passage together; the model's own by default.", rich_help_panel=_MODEL),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MODEL)]

Json = Annotated[Path | None, typer.Option("--json", help="Write the figures here as well; '-' is stdout.")]


def reported(measure: Callable[[Console], dict[str, Any]], json_path: Path | None) -> dict[str, Any]:
    """Measures, telling people on stderr, and writes the figures where they are wanted."""
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
    """Each name once, in order; '' names none. Raises InvalidField for a name that is not known."""
    names = list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    for name in names:
        if name not in known:
            raise InvalidField(option, f"{name!r} is not known: use any of {','.join(known)}")
    return names
