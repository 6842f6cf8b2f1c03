"""`reranker key`: make, list and revoke API keys of an endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reranker.keys import Key

File = Annotated[Path, typer.Option(metavar="FILE", help="The file of keys: `auth.keys_file` of the endpoint.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")]

key = typer.Typer(help="API keys of an endpoint: make, list and revoke them.", no_args_is_help=True)
_FILE = Path("keys.json")


@key.callback()
def root() -> None:
    """API keys of an endpoint: make, list and revoke them.

    The file of keys holds their hashes only, and is for its owner's eyes. An endpoint reads it from `auth.keys_file`,
    and again within a second whenever it changes.
    """


@key.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help=Key.model_fields["name"].description)],
    role: Annotated[str, typer.Option(metavar="score|admin", help=Key.model_fields["role"].description)] = "score",
    tokens_per_minute: Annotated[
        int | None, typer.Option(metavar="N", help=Key.model_fields["tokens_per_minute"].description)
    ] = None,
    file: File = _FILE,
) -> None:
    """Make a key, and print it: this once, for it is kept nowhere.

    Example: `reranker key new search-team --tokens-per-minute 500000 --file /etc/reranker/keys.json`
    """
    from cluster.keys import add_key

    print(add_key(file, name, role, tokens_per_minute))
    print(f"{file}: key {name!r} added; send it as `Authorization: Bearer KEY`", file=sys.stderr)


@key.command("list")
def list_keys(file: File = _FILE) -> None:
    """List the keys: name, role, tokens per minute, when each was made and revoked.

    Example: `reranker key list --file /etc/reranker/keys.json`
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from reranker.keys import read_keys

    table = Table("name", "role", "tokens/min", "made", "revoked", box=SIMPLE_HEAD)
    for one in read_keys(file).keys:
        rate = "" if one.tokens_per_minute is None else str(one.tokens_per_minute)
        revoked = "" if one.revoked is None else f"{one.revoked:%Y-%m-%d %H:%M}"
        table.add_row(one.name, one.role, rate, f"{one.created:%Y-%m-%d %H:%M}", revoked)
    Console(markup=False).print(table)


@key.command()
def revoke(name: Name, file: File = _FILE) -> None:
    """Revoke a key. Endpoints that read the file refuse it within a second.

    Example: `reranker key revoke search-team --file /etc/reranker/keys.json`
    """
    from cluster.keys import revoke_key

    revoke_key(file, name)
    print(f"{file}: key {name!r} revoked", file=sys.stderr)
