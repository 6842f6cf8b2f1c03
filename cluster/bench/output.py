"""What every bench command does with its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

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
