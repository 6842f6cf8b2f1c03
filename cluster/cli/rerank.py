"""`reranker rerank`: rank passages from files or a pipe for one query."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from reranker.documents import checked_query, parse_document
from reranker.errors import EmptyField, InvalidField, InvalidFile
from reranker.settings import CheckpointSettings
from reranker.text import well_formed
from reranker.types import Candidate, Passage

if TYPE_CHECKING:
    from reranker.types import ScoredCandidate

STDIN = Path("-")


@options_of(CheckpointSettings, {MODEL_PANEL: MODEL_FIELDS})
def rerank(
    options: dict[str, Any],
    query: Annotated[str, typer.Option("--query", "-q", help="Query to rank the passages for.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILES",
            help="Files of passages: text with one passage per line, or .jsonl or .parquet with text, and optionally "
            "title and id; '-' (the default) is stdin.",
        ),
    ] = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="Number of passages to print; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Rerank passages for one query, in this process.

    Example: `grep -ri tide notes/ | reranker rerank -q "when is high tide" -n 5`
    """
    checked_query(query, "--query")
    candidates = [candidate for path in files or [STDIN] for candidate in _read(path)]
    if not candidates:
        raise EmptyField("FILES", "no passages in them: give others, or pipe one passage per line")

    from rich.console import Console

    with Console(stderr=True).status(f"loading {options['model']} …"):
        from reranker.rerank import Reranker

        reranker = Reranker(**options)
    ranking = reranker.rank(query, candidates, top_n)
    if as_json:
        print(json.dumps({"query": query, "model": reranker.description.model, "results": _rows(ranking)}))
    else:
        _print_table(query, ranking)


def _read(path: Path) -> Iterator[Candidate]:
    """Candidates of a file, with the file's ids, or else `file:line`. Raises InvalidFile."""
    if path == STDIN:
        if sys.stdin.isatty():
            print("reading passages from the terminal, one per line; end with Ctrl-D", file=sys.stderr)
        yield from _lines(sys.stdin.buffer.read(), "stdin")
    elif {".jsonl", ".parquet"} & set(path.suffixes):
        yield from _records(path)
    else:
        try:
            yield from _lines(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise InvalidFile(path, "no such file") from None
        except OSError as error:
            raise InvalidFile(path, f"cannot be read: {error.strerror}") from None


def _records(path: Path) -> Iterator[Candidate]:
    """Candidates of a jsonl or parquet file; `_id`, as BEIR's files have it, is an id too."""
    from reranker.ir.records import iter_records

    for line, row in iter_records(path, ("_id", "id", "title", "text")):
        document = {"id": row.get("_id", row.get("id")), "title": row.get("title"), "text": row.get("text")}
        try:
            candidate = parse_document(document, int_ids=True)
        except InvalidField as error:
            raise InvalidFile(path, str(error), line) from None
        passage = Passage(*map(well_formed, candidate.passage))
        yield Candidate(passage, f"{path}:{line}" if candidate.docid is None else candidate.docid)


def _lines(raw: bytes, name: str) -> Iterator[Candidate]:
    for number, line in enumerate(raw.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise InvalidFile(name, "is not UTF-8", number) from None
        if text:
            yield Candidate(Passage(text), f"{name}:{number}")


def _rows(ranking: list[ScoredCandidate]) -> list[dict[str, Any]]:
    return [
        {
            "index": hit.index,
            "id": hit.id,
            "logit": hit.logit,
            "relevance_score": hit.relevance_score,
            "truncated": hit.truncated,
            "title": hit.title,
            "text": hit.text,
        }
        for hit in ranking
    ]


def _print_table(query: str, ranking: list[ScoredCandidate]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(query), title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("passage", overflow="fold")
    for rank, hit in enumerate(ranking, 1):
        shown = " ".join(f"{hit.title} {hit.text}".split())
        shown = shown if len(shown) <= 200 else shown[:199] + "…"
        table.add_row(str(rank), f"{hit.relevance_score:.4f}", escape(hit.id or ""), escape(shown))
    Console().print(table)
