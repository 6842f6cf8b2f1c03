"""Token estimates: positive, bounded by the model's length, and learned from scored texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.checkpoints.files import load_encoder
from reranker.pairs import CandidateScores
from reranker.scheduling.token_estimate import TokenEstimate
from reranker.settings import CheckpointSettings
from reranker.types import Passage

TEXTS = st.text(max_size=300)


@given(query=TEXTS, texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_token_estimate_is_positive_and_at_most_the_max_pair_tokens(query: str, texts: list[str]) -> None:
    estimate = TokenEstimate()
    estimate.max_pair_tokens = 64
    tokens = estimate.tokens(query, [Passage(text) for text in texts], "model")
    assert ((tokens > 0) & (tokens <= 64)).all()
    windows = estimate.tokens(query, [Passage(text) for text in texts], "max_passage")
    assert (windows >= tokens).all()


@pytest.mark.parametrize("word", ["water ", "Gezeitentafel ", "水", "🌊"])
def test_token_estimate_learns_the_chars_per_token_of_any_script(word: str) -> None:
    encoder = load_encoder(CheckpointSettings())
    estimate = TokenEstimate()
    passages = [Passage(word * n) for n in (20, 25, 30)]
    pairs = encoder.encode("q", passages)
    truth = pairs.candidate_scores(np.zeros(3, dtype=np.float32))
    for _ in range(200):
        estimate.learn("q", passages, truth)
    assert estimate.tokens("q", passages, "model").sum() == pytest.approx(truth.tokens.sum(), rel=0.2)


@pytest.mark.parametrize("chars", [200_000, 4 * 2**20])
def test_windows_are_counted_only_as_far_as_they_are_read(chars: int) -> None:
    encoder = load_encoder(CheckpointSettings(max_pair_tokens=64))
    estimate = TokenEstimate()
    estimate.max_pair_tokens = 64
    passages = [Passage("word " * (chars // 5))]
    read = encoder.encode("q", passages, "max_passage").lengths.sum()
    estimated = estimate.tokens("q", passages, "max_passage").sum()
    assert read <= estimated < 1.25 * read


def test_token_estimate_ignores_truncated_and_unscored_passages() -> None:
    estimate = TokenEstimate()
    before = estimate.chars_per_token
    cut = CandidateScores(np.zeros(1, np.float32), np.ones(1, bool), np.full(1, 228, np.int32))
    estimate.learn("q", [Passage("a" * 100_000)], cut)
    estimate.learn("q", [Passage("a" * 100_000)], CandidateScores.unscored(1))
    assert estimate.chars_per_token == before
