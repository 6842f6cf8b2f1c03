"""Token estimates: positive, bounded by the model's length, and learned from scored texts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.checkpoints.encoders import load_encoder
from reranker.pairs import CandidateScores
from reranker.scheduling.token_estimate import TokenEstimate
from reranker.settings import CheckpointSettings
from reranker.types import MAX_WINDOWS, PairOptions, Passage, Truncation

TEXTS = st.text(max_size=300)


@given(query=TEXTS, texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_token_estimate_is_positive_and_at_most_the_max_pair_tokens(query: str, texts: list[str]) -> None:
    estimate = TokenEstimate()
    estimate.max_pair_tokens = 64
    tokens = estimate.tokens(query, [Passage(text) for text in texts], PairOptions())
    assert ((tokens > 0) & (tokens <= 64)).all()
    windows = estimate.tokens(query, [Passage(text) for text in texts], PairOptions("max_passage"))
    assert (windows >= tokens).all()


@given(queries=st.lists(TEXTS, min_size=1, max_size=5), text=TEXTS, limit=st.sampled_from([None, 20, 500]))
def test_pairs_are_estimated_as_if_each_came_alone(queries: list[str], text: str, limit: int | None) -> None:
    estimate = TokenEstimate()
    estimate.max_pair_tokens = 64
    passages, options = [Passage(text)] * len(queries), PairOptions(max_pair_tokens=limit)
    together = estimate.tokens(tuple(queries), passages, options).tolist()
    assert together == [int(estimate.tokens(query, passages[:1], options)[0]) for query in queries]
    assert max(together) <= (20 if limit == 20 else 64)


@pytest.mark.parametrize("word", ["water ", "Gezeitentafel ", "水", "🌊"])
def test_token_estimate_learns_the_chars_per_token_of_any_script(word: str) -> None:
    encoder = load_encoder(CheckpointSettings())
    estimate = TokenEstimate()
    passages = [Passage(word * n) for n in (20, 25, 30)]
    pairs = encoder.encode("q", passages)
    truth = pairs.candidate_scores(np.zeros(3, dtype=np.float32))
    for _ in range(200):
        estimate.learn("q", passages, truth)
    assert estimate.tokens("q", passages, PairOptions()).sum() == pytest.approx(truth.tokens.sum(), rel=0.2)


@pytest.mark.parametrize("chars", [200_000, 4 * 2**20])
def test_windows_are_counted_only_as_far_as_they_are_read(chars: int) -> None:
    encoder = load_encoder(CheckpointSettings(max_pair_tokens=64))
    estimate = TokenEstimate()
    estimate.max_pair_tokens = 64
    passages = [Passage("word " * (chars // 5))]
    read = encoder.encode("q", passages, "max_passage").lengths.sum()
    estimated = estimate.tokens("q", passages, PairOptions("max_passage")).sum()
    assert read <= estimated < 1.25 * read


def test_token_estimate_ignores_truncated_and_unscored_passages() -> None:
    estimate = TokenEstimate()
    before = estimate.chars_per_token
    cut = CandidateScores(np.zeros(1, np.float32), np.ones(1, bool), np.full(1, 228, np.int32))
    estimate.learn("q", [Passage("a" * 100_000)], cut)
    estimate.learn("q", [Passage("a" * 100_000)], CandidateScores.unscored(1))
    assert estimate.chars_per_token == before


def estimated(query: str, chars: int, truncation: Truncation = "model", limit: int = 512) -> int:
    """Tokens of one passage of so many characters, at 4 characters a token and 8 for the template."""
    estimate = TokenEstimate()
    estimate.max_pair_tokens = limit
    (tokens,) = estimate.tokens(query, [Passage("a" * chars)], PairOptions(truncation))
    return int(tokens)


def test_new_estimate_is_of_english_and_a_template_in_512_tokens() -> None:
    assert TokenEstimate().tokens("q" * 40, [Passage("a" * n) for n in (0, 400, 10_000)], PairOptions()).tolist() == [
        10 + 8,
        10 + 8 + 100,
        512,
    ]


def test_long_query_takes_at_most_half_of_a_pair() -> None:
    assert [estimated("q" * chars, 0, limit=64) for chars in (92, 96, 100, 10_000)] == [31, 32, 32, 32]
    assert estimated("q" * 10_000, 10_000, limit=64) == 64


def test_every_window_reads_the_query_again() -> None:
    """Of 64 tokens the query and the template take 24: a window has 40 of the passage."""
    texts = {chars: estimated("q" * 64, chars, "max_passage", 64) for chars in (0, 160, 164, 320)}
    assert texts == {0: 24, 160: 24 + 40, 164: 2 * 24 + 41, 320: 2 * (24 + 40)}
    assert estimated("q" * 64, 10**6, "max_passage", 64) == MAX_WINDOWS * 64


def scores_of(*tokens: int) -> CandidateScores:
    whole = np.zeros(len(tokens), bool)
    return CandidateScores(whole.astype(np.float32), whole, np.array(tokens, np.int32))


def test_estimate_learns_from_the_query_and_the_passage_without_the_template() -> None:
    """Beside the 1,000 tokens that the initial value weighs, which fade by 1/e in 100,000 tokens."""
    estimate = TokenEstimate()
    estimate.learn("q" * 10, [Passage("a" * 1_990), Passage("a" * 2_990)], scores_of(508, 508))
    faded = 1_000 * math.exp(-1_000 / 100_000)
    assert estimate.chars_per_token == pytest.approx((4 * faded + 5_000) / (faded + 1_000))


def test_passage_without_tokens_beside_the_template_teaches_nothing() -> None:
    estimate = TokenEstimate()
    estimate.learn("query", [Passage("text")], scores_of(8))
    estimate.learn("", [Passage("")], scores_of(9))
    assert estimate.chars_per_token == 4
    estimate.learn("q", [Passage("")], scores_of(9))
    assert estimate.chars_per_token < 4, "one character for a token"
