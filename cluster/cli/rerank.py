"""`reranker rerank`: passages from files or a pipe, best first, for people at a terminal."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.options import Device, Dtype, MaxPairTokens, Model, Revision, Template
from reranker.errors import EmptyField, InvalidFile
from reranker.types import Candidate, Passage

if TYPE_CHECKING:
    from reranker.types import ScoredCandidate

STDIN = Path("-")


def rerank(
    query: Annotated[str, typer.Option("--query", "-q", help="What to look for.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILES",
            help="Text (one passage a line), .jsonl or .parquet (text, and optionally title and id); '-' is stdin.",
        ),
    ] = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="How many to show; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
    model: Model = "embedded",
    template: Template = "auto",
    max_pair_tokens: MaxPairTokens = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    revision: Revision = None,
) -> None:
    """Rerank passages for one query, in this process.

    Example: `grep -ri tide notes/ | reranker rerank -q "when is high tide" -n 5`
    """
    if not query.strip():
        raise EmptyField("--query", "is empty: a query needs at least one character that is not a space")
    candidates = [candidate for path in files or [STDIN] for candidate in _read(path)]
    if not candidates:
        raise EmptyField("FILES", "no passages in them: give others, or pipe one passage a line")

    from rich.console import Console

    with Console(stderr=True).status(f"loading {model} …"):
        from reranker.rerank import Reranker

        reranker = Reranker(model, template, max_pair_tokens, dtype, device, revision=revision)
    ranking = reranker.rank(query, candidates, top_n)
    if as_json:
        print(
            json.dumps({"query": query, "model": reranker.description.model, "results": _rows(ranking, candidates)})
        )
    else:
        _print_table(query, ranking, candidates)


def _read(path: Path) -> Iterator[Candidate]:
    """Candidates with the id the file gives, or `file:line`."""
    if path == STDIN:
        if sys.stdin.isatty():
            print("reading passages from the terminal, one a line; end with Ctrl-D", file=sys.stderr)
        yield from _lines(sys.stdin.buffer.read(), "stdin")
    elif {".jsonl", ".parquet"} & set(path.suffixes):
        from reranker.ir.trec import iter_documents

        yield from iter_documents(path)
    else:
        try:
            yield from _lines(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise InvalidFile(path, "no such file") from None
        except OSError as error:
            raise InvalidFile(path, f"cannot be read: {error.strerror}") from None


def _lines(raw: bytes, name: str) -> Iterator[Candidate]:
    for number, line in enumerate(raw.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise InvalidFile(name, "is not UTF-8", number) from None
        if text:
            yield Candidate(Passage(text), f"{name}:{number}")


def _rows(ranking: list[ScoredCandidate], candidates: list[Candidate]) -> list[dict[str, Any]]:
    return [
        {
            "index": hit.index,
            "id": hit.id,
            "logit": hit.logit,
            "relevance_score": hit.relevance_score,
            "truncated": hit.truncated,
            "title": candidates[hit.index].passage.title,
            "text": candidates[hit.index].passage.text,
        }
        for hit in ranking
    ]


def _print_table(query: str, ranking: list[ScoredCandidate], candidates: list[Candidate]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(query), title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("passage", overflow="fold")
    for rank, hit in enumerate(ranking, 1):
        title, text = candidates[hit.index].passage.title, candidates[hit.index].passage.text
        shown = " ".join(f"{title} {text}".split())
        shown = shown if len(shown) <= 200 else shown[:199] + "…"
        table.add_row(str(rank), f"{hit.relevance_score:.4f}", escape(hit.id or ""), escape(shown))
    Console().print(table)
