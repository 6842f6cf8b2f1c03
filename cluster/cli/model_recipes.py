"""`reranker model list` and `reranker model show`: known recipes, and the one that a checkpoint is run with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.options import MODEL_PANEL, options_of
from reranker.settings import CheckpointSettings

if TYPE_CHECKING:
    from rich.console import Console

    from reranker.checkpoints.recipes import KnownRecipe
    from reranker.prompt import Piece
    from reranker.recipe import Recipe, Score

PrintedJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_models(as_json: PrintedJson = False) -> None:
    """List the rerankers whose prompt and score are known: their recipes ship with the package.

    Others run too: classifiers with one logit as bare pairs of texts, directories that sentence-transformers saved as
    they say themselves, and all others with a recipe of your own (`--recipe FILE`).

    Example: `reranker model list`
    """
    from rich.console import Console
    from rich.table import Column, Table

    from reranker.checkpoints.recipes import known_recipes

    known = known_recipes()
    if as_json:
        print(json.dumps([recipe.model_dump(mode="json") for recipe in known.values()], indent=1))
        return
    table = Table("recipe", Column("models", overflow="fold"), "score", "tokens", "licence", show_lines=True)
    for recipe in known.values():
        score = f"needs code of its own: {recipe.why}" if recipe.needs_code else _score(recipe.score)
        table.add_row(recipe.name, "\n".join(recipe.models), score, str(recipe.max_pair_tokens or ""), recipe.licence)
    Console().print(table)


@options_of(CheckpointSettings, {MODEL_PANEL: ("recipe", "instruction", "template", "max_pair_tokens", "pooling")})
def show(
    options: dict[str, Any],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Checkpoint or adapter directory, or hub id.")],
    as_json: PrintedJson = False,
) -> None:
    """Show how a checkpoint's pairs are written and its score is read, and who says so.

    Reads no weights. Of a hub id that is known, its recipe is shown, and nothing is downloaded.

    Example: `reranker model show Qwen/Qwen3-Reranker-0.6B`
    """
    from pathlib import Path

    from rich.console import Console

    from reranker.checkpoints.recipes import known_for

    console = Console()
    known = None if Path(model).expanduser().is_dir() else known_for(model)
    if known is not None and all(value in ("auto", None) for value in options.values()):
        _print_known(known, console, as_json=as_json)
        return
    _print_resolved(CheckpointSettings.model_validate({"model": model, **options}), console, as_json=as_json)


def _print_known(known: KnownRecipe, console: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(known.model_dump(mode="json"), indent=1))
        return
    if known.needs_code:
        console.print(f"{known.name} runs only with Python that ships with it: {known.why}", markup=False)
        return
    _print_recipe(known.recipe, dict.fromkeys(known.recipe.model_fields_set, f"known recipe {known.name}"), console)
    for title, text in (("source", known.source), ("licence", known.licence), ("checked", known.checked)):
        console.print(f"[bold]{title}[/bold]", end=": ")
        console.print(text, markup=False)
    if known.unsure:
        console.print("[bold yellow]not established[/bold yellow]", end=": ")
        console.print(known.unsure, markup=False)


def _print_resolved(settings: CheckpointSettings, console: Console, *, as_json: bool) -> None:
    from reranker.checkpoints.encoders import load_encoder
    from reranker.checkpoints.files import load_config, locate
    from reranker.checkpoints.resolve import resolve
    from reranker.engine.models.loading import why_no_fast_forward

    files = locate(settings, weights=False)
    resolved, encoder = resolve(settings, files), load_encoder(settings, files)
    config = load_config(files, score=encoder.recipe.score)
    slow = why_no_fast_forward(config, encoder.max_pair_tokens, encoder.recipe)
    if as_json:
        about = {"warnings": encoder.warnings, "no_fast_forward": slow, "origins": dict(resolved.origins)}
        print(json.dumps({"recipe": encoder.recipe.model_dump(mode="json"), **about}, indent=1))
        return
    _print_recipe(encoder.recipe, resolved.origins, console)
    console.print(f"[bold]forward[/bold]: {'the fast one' if slow is None else f'Hugging Face’s, because {slow}'}")
    for warning in encoder.warnings:
        console.print("[bold yellow]warning[/bold yellow]", end=": ")
        console.print(warning, markup=False)


def _print_recipe(recipe: Recipe, origins: Any, console: Console) -> None:
    from rich.table import Table

    table = Table("", "what", "who says so", title=recipe.name, title_justify="left", show_lines=True)
    pieces = "\n".join(map(_piece, recipe.template.pieces))
    rows = {
        "template": f"{pieces}\nspecial tokens: {recipe.template.special_tokens}",
        "max_pair_tokens": recipe.max_pair_tokens,
        "score": _score(recipe.score),
        "pooling": recipe.pooling,
        "attention": recipe.attention,
    }
    if recipe.template.instruction is not None:
        rows["template"] = f"{rows['template']}\ninstruction: {recipe.template.instruction!r}"
    for name, value in rows.items():
        if value is not None:
            table.add_row(name.replace("_", " "), _plain(str(value)), _plain(str(origins.get(name, ""))))
    console.print(table)


def _piece(piece: Piece) -> str:
    notes = []
    if piece.with_instruction is not None:
        notes.append(f"with an instruction {piece.with_instruction!r}")
    if piece.max_tokens is not None:
        notes.append(f"at most {piece.max_tokens} tokens")
    if piece.max_share is not None:
        notes.append(f"at most {piece.max_share:.0%} of a pair")
    return f"{piece.text!r}  ({'; '.join(notes)})" if notes else repr(piece.text)


def _score(score: Score) -> str:
    if score.kind == "classifier":
        return "a classifier's logit"
    terms = " ".join(f"{weight:+g}·{token!r}" for token, weight in score.tokens.items())
    where = "the last token" if score.kind == "tokens" else "the decoder's first step"
    return f"{terms} at {where}"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
