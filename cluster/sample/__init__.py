"""A small public collection: NovelEval, one passage a line."""

from pathlib import Path

SAMPLE = Path(__file__).parent
CORPUS = SAMPLE / "corpus.jsonl"
