"""Options that several commands share: which model, and where it runs."""

from typing import Annotated

import typer

_MODEL = "Model"

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="'embedded', a checkpoint directory, or a hub id.", rich_help_panel=_MODEL),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.", rich_help_panel=_MODEL)]
Template = Annotated[str, typer.Option(help="How pairs are written: auto, dear or plain.", rich_help_panel=_MODEL)]
MaxPairTokens = Annotated[
    int | None,
    typer.Option(help="Tokens of query and passage together; the model's own by default.", rich_help_panel=_MODEL),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MODEL)]
