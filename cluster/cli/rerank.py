"""`reranker rerank`: rank passages from files or a pipe for one query."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from reranker.documents import checked_query, parse_document
from reranker.errors import EmptyField, InvalidField, InvalidFile
from reranker.ir.columns import Column, Columns
from reranker.ir.formats import Format, format_of, looks_like
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
            help="Files of passages: .jsonl, .json, .csv, .tsv or .parquet with the columns text, and optionally "
            "title and id; any other is text with one passage per line. Each may be gzipped. '-' (the default) is "
            "stdin.",
        ),
    ] = None,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="Format of all FILES; by default their names' endings say it.")
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
    candidates = [candidate for path in files or [STDIN] for candidate in _read(path, file_format)]
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


def _read(path: Path, file_format: Format | None = None) -> Iterator[Candidate]:
    """Candidates of a file, with the file's ids, or else `file:line`. Raises InvalidFile."""
    name, stream = str(path), None
    if path == STDIN:
        name, stream = "stdin", cast(io.BufferedReader, sys.stdin.buffer)
        if sys.stdin.isatty():
            print("reading passages from the terminal, one per line; end with Ctrl-D", file=sys.stderr)
    found = file_format or format_of(name) or Format.TEXT
    if found is Format.TEXT:
        yield from _lines(name, stream, checked=file_format is None)
    else:
        yield from _records(name, stream, found)


def _records(name: str, stream: io.BufferedReader | None, file_format: Format) -> Iterator[Candidate]:
    from reranker.ir.tables import iter_records

    for line, row in iter_records(name, _columns(), bare=True, file_format=file_format, stream=stream):
        document = {"id": row.get("_id"), "title": row.get("title"), "text": row.get("text")}
        try:
            candidate = parse_document(document, int_ids=True)
        except InvalidField as error:
            raise InvalidFile(name, str(error), line) from None
        passage = Passage(*map(well_formed, candidate.passage))
        yield Candidate(passage, f"{name}:{line}" if candidate.docid is None else candidate.docid)


def _lines(name: str, stream: io.BufferedReader | None, *, checked: bool) -> Iterator[Candidate]:
    """checked: refuse a file whose first line is not text, so that JSON is never scored as if it were a passage."""
    from reranker.ir.lines import decoded_lines, opened

    with opened(name, stream) as file:
        for number, line in decoded_lines(name, file):
            if not (text := line.strip()):
                continue
            if checked and (guess := looks_like(text, _columns())) is not None:
                problem = f"looks like {guess}: say --format {guess}, or --format text to rank its lines as they are"
                raise InvalidFile(name, problem, number)
            checked = False
            yield Candidate(Passage(text), f"{name}:{number}")


def _columns() -> Columns:
    """A passage's columns; its id may be missing."""
    from reranker.ir.texts import PASSAGE_ID, TEXT, TITLE

    return Columns(Column("_id", ("_id", *PASSAGE_ID), needed=False), TITLE, TEXT)


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
