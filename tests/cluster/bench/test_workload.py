"""Texts of the benchmarks: their lengths, and that no request repeats them."""

import json
from pathlib import Path

import numpy as np
import pytest

from cluster.bench.workload import (
    PASSAGE_TOKENS,
    QUERY_TOKENS,
    Histogram,
    collection_requests,
    plain_tokenizer,
    sample_requests,
)
from reranker.errors import InvalidField, InvalidFile


def test_requests_share_no_queries_and_no_passages() -> None:
    requests = sample_requests(9, 100, seed=3)
    passages = [passage.text for request in requests for passage in request.passages]
    assert len(passages) == 900
    beginnings = {tuple(text.split()[:12]) for text in passages}
    assert len(beginnings) == 900, "passages with equal beginnings could share a cached prefix"
    queries = {request.query for request in requests}
    assert len(queries) == 9


def test_requests_are_deterministic_for_a_seed() -> None:
    assert sample_requests(2, 10, seed=5) == sample_requests(2, 10, seed=5)
    assert sample_requests(2, 10, seed=5) != sample_requests(2, 10, seed=6)


@pytest.mark.parametrize("histogram", [PASSAGE_TOKENS, QUERY_TOKENS])
def test_drawn_lengths_follow_the_histogram_in_every_draw(histogram: Histogram) -> None:
    lengths = histogram.lengths(100, np.random.default_rng(0))
    edges = histogram.start + histogram.width * np.arange(len(histogram.counts) + 1)
    drawn = np.cumsum(np.histogram(lengths, edges)[0]) / 100
    wanted = np.cumsum(histogram.counts) / sum(histogram.counts)
    assert np.abs(drawn - wanted).max() < 0.02


def test_texts_have_the_lengths_of_web_passages_and_queries() -> None:
    tokenizer = plain_tokenizer()

    def tokens(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    requests = sample_requests(10, 50, seed=0)
    lengths = [tokens(passage.text) for request in requests for passage in request.passages]
    assert np.mean(lengths) == pytest.approx(85.2, rel=0.04)
    assert np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95]) == pytest.approx([42, 59, 75, 108, 151], rel=0.07)
    assert np.mean([tokens(request.query) for request in requests]) == pytest.approx(7.0, abs=1.0)


def test_collection_requests_have_different_queries(tmp_path: Path) -> None:
    write_collection(tmp_path, queries=4, candidates=3)
    requests = collection_requests(tmp_path, 3, 2, seed=0)
    assert len({request.query for request in requests}) == 3
    for request in requests:
        number = request.query.removeprefix("query ")
        assert [passage.text for passage in request.passages] == [f"passage {number}-0", f"passage {number}-1"]


def test_collection_with_too_few_queries_or_passages_is_refused(tmp_path: Path) -> None:
    write_collection(tmp_path, queries=2, candidates=2)
    with pytest.raises(InvalidField, match="has 2 queries with candidates, 3 are needed"):
        collection_requests(tmp_path, 3, 2, seed=0)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "other", "text": "a passage"}\n')
    with pytest.raises(InvalidField, match="its corpus lacks passage '0-0' of its run"):
        collection_requests(tmp_path, 2, 2, seed=0)
    (tmp_path / "run.trec").unlink()
    with pytest.raises(InvalidFile, match="no such file"):
        collection_requests(tmp_path, 2, 2, seed=0)


def write_collection(directory: Path, *, queries: int, candidates: int) -> None:
    ids = [(number, f"{number}-{rank}") for number in range(queries) for rank in range(candidates)]
    rows = {
        "queries.jsonl": [json.dumps({"_id": str(number), "text": f"query {number}"}) for number in range(queries)],
        "corpus.jsonl": [json.dumps({"_id": docid, "text": f"passage {docid}"}) for _, docid in ids],
        "run.trec": [f"{number} Q0 {docid} 1 {-rank} bm25" for rank, (number, docid) in enumerate(ids)],
    }
    for name, lines in rows.items():
        (directory / name).write_text("\n".join(lines) + "\n")
