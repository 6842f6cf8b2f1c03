"""A small public collection (NovelEval): queries, passages, a BM25 run and qrels."""

from pathlib import Path

SAMPLE = Path(__file__).parent
QUERIES, CORPUS, RUN, QRELS = (SAMPLE / name for name in ("queries.jsonl", "corpus.jsonl", "run.trec", "qrels.tsv"))
