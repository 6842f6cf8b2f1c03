"""Small collections, written as input files in every form and format, and the plans made from them."""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.batch.plan import Plan, Unit, make_plan, read_unit
from cluster.batch.settings import BatchSettings
from reranker.types import Passage

Row = dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """queries: id -> text. passages: docid -> passage. run: (query_id, docid, score) in file order."""

    queries: dict[str, str]
    passages: dict[str, Passage]
    run: Sequence[tuple[str, str, float]]


TIDES = Collection(
    {"q1": "when is high tide", "q2": "why does bread rise", "q3": "no candidate"},
    {
        "d1": Passage("High tide is at noon.", "Tides"),
        "d2": Passage("Because of yeast. ", "Bread"),
        "d3": Passage("", "Nothing"),
        "d4": Passage("El andén tres es para Sevilla.", ""),
        "d5": Passage("Nobody asks for this one.", "Alone"),
    },
    [("q2", "d2", 9.0), ("q1", "d3", 1.0), ("q2", "d4", 9.0), ("q1", "d1", 7.0), ("q1", "d4", 1.0)],
)


def write_rows(path: Path, rows: Iterable[Row | bytes], *, header: bool = False) -> Path:
    """Write jsonl, tsv or parquet, as the suffix says, gzipped for .gz. A row of bytes is written unchanged.

    header: whether a tsv file has one.
    """
    rows = list(rows)
    if ".parquet" in path.suffixes:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    lines = [row if isinstance(row, bytes) else _line(path, row).encode() for row in rows]
    if header and ".tsv" in path.suffixes:
        lines.insert(0, "\t".join(rows[0]).encode())
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def _line(path: Path, row: Row) -> str:
    return "\t".join(map(str, row.values())) if ".tsv" in path.suffixes else json.dumps(row)


def write_files(
    directory: Path, collection: Collection = TIDES, suffix: str = "jsonl", *, titles: bool = True
) -> dict[str, Path]:
    """Write queries, corpus and run. Returns the batch options that name them."""
    directory.mkdir(parents=True, exist_ok=True)
    queries = [{"_id": query_id, "text": query} for query_id, query in collection.queries.items()]
    corpus = [
        {"_id": docid} | ({"title": passage.title} if titles else {}) | {"text": passage.text}
        for docid, passage in collection.passages.items()
    ]
    run = directory / "run.trec"
    run.write_text("".join(f"{query_id} Q0 {docid} 0 {score!r} t\n" for query_id, docid, score in collection.run))
    return {
        "queries": write_rows(directory / f"queries.{suffix}", queries),
        "corpus": write_rows(directory / f"corpus.{suffix}", corpus, header=titles),
        "run": run,
    }


def pair_rows(collection: Collection = TIDES) -> list[Row]:
    """The collection as one row per candidate, in run order."""
    return [
        {
            "query_id": query_id,
            "query": collection.queries[query_id],
            "docid": docid,
            "title": collection.passages[docid].title,
            "text": collection.passages[docid].text,
            "first_stage_score": score,
        }
        for query_id, docid, score in collection.run
    ]


def query_rows(collection: Collection = TIDES) -> list[Row]:
    """The collection as one row per query, with lists of candidates."""
    rows: dict[str, Row] = {}
    for pair in pair_rows(collection):
        row = rows.setdefault(pair["query_id"], {"query_id": pair["query_id"], "query": pair["query"]})
        for name in ("docid", "title", "text", "first_stage_score"):
            row.setdefault(f"{name}s", []).append(pair[name])
    return list(rows.values())


def settings_of(directory: Path, **options: object) -> BatchSettings:
    return BatchSettings.model_validate({"output": directory / "output", **options})


def plan_of(directory: Path, **options: object) -> Plan:
    return make_plan(settings_of(directory, **options), directory / "plan", lambda message: None)


def units_of(plan: Plan) -> list[Unit]:
    return [read_unit(str(plan.directory), number) for number in range(len(plan))]


def dead_letters_of(plan: Plan) -> list[Row]:
    """The rows of the plan's dead-letter file, [] if there is none."""
    if not plan.dead_letters.exists():
        return []
    return [json.loads(line) for line in plan.dead_letters.read_text().splitlines()]
