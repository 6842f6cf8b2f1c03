"""Small files of rows in every format."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reranker.ir.json_rows import Record

EVERY_FORMAT = ["a.jsonl", "a.ndjson", "a.json", "a.csv", "a.tsv", "a.parquet"]
GZIPPED = [f"{name}.gz" for name in EVERY_FORMAT if name != "a.parquet"]


def content_of(name: str, rows: list[Record]) -> bytes:
    """The rows as the bytes of a file with this name; csv and tsv with a header, "bare" ones without."""
    lower = name.lower()
    if ".parquet" in lower:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        contents: bytes = sink.getvalue().to_pybytes()
        return contents
    if ".json" in lower and ".jsonl" not in lower:
        text = json.dumps(rows, indent=1)
    elif lower.removesuffix(".gz").endswith((".csv", ".tsv")):
        sheet = io.StringIO(newline="")
        writer = csv.writer(sheet, delimiter="," if ".csv" in lower else "\t")
        writer.writerows([list(rows[0]), *(row.values() for row in rows)] if rows else [])
        text = sheet.getvalue()
        if "bare" in lower:
            text = "".join("\t".join(map(str, row.values())) + "\n" for row in rows)
    else:
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
    data = text.encode()
    return gzip.compress(data, mtime=0) if lower.endswith(".gz") else data


def text_file(directory: Path, content: str | bytes, name: str = "file.jsonl") -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
