"""Locations: credentials stay out of errors, endings are found whatever their case."""

from pathlib import Path

import pytest

from reranker.ir.locations import endings, redacted


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("s3://key:secret@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("s3://key:secret@bucket/at@noon.jsonl", "s3://bucket/at@noon.jsonl"),
        ("s3://key:sec/r+et@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("gs://secret@bucket/a.jsonl", "gs://bucket/a.jsonl"),
        ("abfs://host/a.tsv?sv=1&sig=secret&se=2", "abfs://host/a.tsv?sv=1&sig=…&se=2"),
        ("s3://bucket/at@noon.jsonl", "s3://bucket/at@noon.jsonl"),
        ("hdfs://host:8020/at@noon.jsonl", "hdfs://host:8020/at@noon.jsonl"),
        ("at@noon.jsonl", "at@noon.jsonl"),
    ],
)
def test_redacted_location_drops_credentials_and_keeps_the_rest(location: str, shown: str) -> None:
    assert redacted(location) == shown


def test_endings_are_lower_case_and_ignore_the_query_of_a_url() -> None:
    assert endings("s3://a.parquet/b.JSONL.gz?region=x.y") == [".jsonl", ".gz"]
    assert endings(Path("odd?.TSV")) == endings("odd?.tsv") == [".tsv"]
