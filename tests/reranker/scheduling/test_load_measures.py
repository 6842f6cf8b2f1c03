"""What admission and retries go by: tokens told from texts, speed told from passes, retries that were earned."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.checkpoints.files import load_encoder
from reranker.pairs import CandidateScores
from reranker.scheduling.retry_budget import MOST, RetryBudget
from reranker.scheduling.throughput import Throughput
from reranker.scheduling.token_estimate import TokenEstimate
from reranker.settings import CheckpointSettings
from reranker.types import Passage

TEXTS = st.text(max_size=300)


@given(query=TEXTS, texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_an_estimate_is_positive_and_no_pair_exceeds_the_models_length(query: str, texts: list[str]) -> None:
    estimate = TokenEstimate()
    estimate.max_pair_tokens = 64
    tokens = estimate.tokens(query, [Passage(text) for text in texts], "model")
    assert ((tokens > 0) & (tokens <= 64)).all()
    windows = estimate.tokens(query, [Passage(text) for text in texts], "max_passage")
    assert (windows >= tokens).all()


@pytest.mark.parametrize("word", ["water ", "Gezeitentafel ", "水", "🌊"])
def test_an_estimate_learns_any_script_from_what_was_scored(word: str) -> None:
    encoder = load_encoder(CheckpointSettings())
    estimate = TokenEstimate()
    passages = [Passage(word * n) for n in (20, 25, 30)]
    pairs = encoder.encode("q", passages)
    truth = pairs.candidate_scores(np.zeros(3, dtype=np.float32))
    for _ in range(200):
        estimate.learn("q", passages, truth)
    assert estimate.tokens("q", passages, "model").sum() == pytest.approx(truth.tokens.sum(), rel=0.2)


def test_texts_that_were_cut_or_not_scored_teach_nothing() -> None:
    estimate = TokenEstimate()
    before = estimate.chars_per_token
    cut = CandidateScores(np.zeros(1, np.float32), np.ones(1, bool), np.full(1, 228, np.int32))
    estimate.learn("q", [Passage("a" * 100_000)], cut)
    estimate.learn("q", [Passage("a" * 100_000)], CandidateScores.unscored(1))
    assert estimate.chars_per_token == before


def test_small_batches_do_not_make_a_device_look_slow() -> None:
    speed = Throughput(1_000)
    assert speed.tokens_per_s == 0
    speed.observe(1_000, 0.1)
    for _ in range(100):
        speed.observe(10, 0.05)
    assert speed.tokens_per_s == pytest.approx(10_000)


def test_a_device_that_slows_down_is_noticed_within_seconds_of_its_time() -> None:
    speed = Throughput(1_000)
    for _ in range(100):
        speed.observe(1_000, 0.1)
    for _ in range(60):
        speed.observe(1_000, 1.0)
    assert speed.tokens_per_s == pytest.approx(1_000, rel=0.1)


def test_a_small_first_batch_is_a_beginning_that_a_full_one_corrects() -> None:
    speed = Throughput(1_000)
    speed.observe(10, 0.05)
    assert speed.tokens_per_s == pytest.approx(200)
    speed.observe(1_000, 0.1)
    assert speed.tokens_per_s > 5_000


def test_retries_are_earned_and_run_out() -> None:
    budget = RetryBudget()
    given = 0
    while budget.spend():
        given += 1
    assert given == 100
    for _ in range(10):
        budget.earn()
    assert [budget.spend() for _ in range(6)] == [True] * 5 + [False]
    for _ in range(10_000):
        budget.earn()
    retries = 0
    while budget.spend():
        retries += 1
    assert retries == MOST
