"""The first passes of a serving engine, on a device with a clock of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import locate
from reranker.encoder import Encoder
from reranker.engine.engine import Engine
from reranker.engine.models import ForwardPass
from reranker.engine.models.simulated import SimulatedModel
from reranker.engine.warm_up import warm_up, worst_batches
from reranker.engine.workers import Workers
from reranker.pairs import EncodedPairs, IntArray
from reranker.settings import CheckpointSettings, ScorerSettings


class ClockedModel:
    """See ScoringModel. A pass takes 10 ms and the time of its tokens; every `slow_every`th takes ten times as long.

    fits: tokens of a pass that the device has memory for. passes: those run, in order.
    """

    pads = False

    def __init__(self, tokens_per_s: float, slow_every: int = 10**9, fits: int = 10**9) -> None:
        self.now = 0.0
        self.passes: list[EncodedPairs] = []
        self._tokens_per_s, self._slow_every, self._fits = tokens_per_s, slow_every, fits

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        def run() -> torch.Tensor:
            tokens = int(pairs.lengths.sum())
            if tokens > self._fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.passes.append(pairs)
            slow = 10 if len(self.passes) % self._slow_every == 0 else 1
            self.now += slow * (0.010 + tokens / self._tokens_per_s)
            return torch.zeros(len(pairs))

        return run

    def clear_cache(self) -> None:
        """There is no cache."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    checkpoint = CheckpointSettings(max_pair_tokens=228)
    return load_encoder(checkpoint, locate(checkpoint, weights=False))


def chosen(encoder: Encoder, model: ClockedModel, max_pass_s: float | None = 0.3) -> int:
    engine = Engine(model, 16_384)
    budget = warm_up(engine, encoder, max_pass_s, lambda: model.now)
    assert engine.max_batch_tokens == budget.tokens
    return budget.tokens


@pytest.mark.parametrize(("tokens_per_s", "tokens"), [(1_000, 512), (5_000, 1_024), (50_000, 8_192), (1e6, 16_384)])
def test_warm_up_chooses_the_largest_budget_whose_passes_are_short_enough(
    encoder: Encoder, tokens_per_s: float, tokens: int
) -> None:
    assert chosen(encoder, ClockedModel(tokens_per_s)) == tokens


def test_budget_may_be_smaller_than_the_longest_pair_of_a_long_model(llama: Path) -> None:
    checkpoint = CheckpointSettings(model=str(llama), max_pair_tokens=1_000)
    long = load_encoder(checkpoint, locate(checkpoint, weights=False))
    assert chosen(long, ClockedModel(1_000)) == 512


@pytest.mark.parametrize("slow_every", [3, 4, 5])
def test_single_slow_passes_do_not_change_the_budget(encoder: Encoder, slow_every: int) -> None:
    assert chosen(encoder, ClockedModel(50_000, slow_every)) == 8_192


def test_batch_that_does_not_fit_the_device_is_not_chosen(encoder: Encoder) -> None:
    assert chosen(encoder, ClockedModel(1e6, fits=5_000)) == 4_096
    with pytest.raises(torch.OutOfMemoryError):
        chosen(encoder, ClockedModel(1e6, fits=300))


def test_fixed_budget_is_kept_and_measured_by_its_second_pass(encoder: Encoder) -> None:
    model = ClockedModel(1_000)
    assert chosen(encoder, model, None) == 16_384
    assert [round(int(pairs.lengths.sum()), -3) for pairs in model.passes] == [16_000, 16_000]


def test_workers_are_measured_with_passes_of_their_own(encoder: Encoder) -> None:
    engine = Engine(SimulatedModel(1e9), 3_000, workers=Workers(2, 1))
    assert 1_024 <= warm_up(engine, encoder, 0.3).tokens <= 3_000


def test_a_gpu_scores_the_worst_batches_before_it_serves(encoder: Encoder) -> None:
    model = ClockedModel(1e6)
    warm_up(Engine(model, 4_096, device="cuda"), encoder, 0.3, lambda: model.now)
    assert [len(np.unique(pairs.prefix_of)) for pairs in model.passes[-2:]] == [4_096 // 228] * 2


@pytest.mark.parametrize("tokens", [100, 228, 5_000])
def test_worst_batches_share_no_prefix_and_fill_the_budget(encoder: Encoder, tokens: int) -> None:
    mixed, longest = worst_batches(encoder, tokens)
    for pairs in (mixed, longest):
        prefixes = {
            tuple(pairs.prefix_ids[start:end])
            for start, end in zip(pairs.prefix_offsets, pairs.prefix_offsets[1:], strict=False)
        }
        assert len(prefixes) == len(pairs) == max(1, tokens // 228)
        assert set(pairs.lengths) == {228}
    assert longest.prefix_lengths.min() >= 228 - 10
    assert abs(mixed.prefix_lengths - 228 // 2).max() <= 30


@pytest.mark.parametrize(
    ("settings", "max_pass_s"),
    [({}, 0.3), ({"max_pass_ms": 50}, 0.05), ({"max_batch_tokens": 4_096}, None), ({"deterministic": True}, None)],
)
def test_a_set_budget_and_deterministic_passes_are_not_measured(settings: dict, max_pass_s: float | None) -> None:
    assert ScorerSettings.model_validate(settings).max_pass_s == max_pass_s
