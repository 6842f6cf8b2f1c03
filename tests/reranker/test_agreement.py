"""Bounds on golden scores: right logits pass, however they are rounded, and errors beyond rounding do not."""

import numpy as np
import pytest
import torch

from reranker.agreement import bounds, disagreement
from reranker.pairs import FloatArray

NOISE = 0.01


def golden(seed: int, count: int = 48) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(float32, Hugging Face's bfloat16, ours in bfloat16) of a right forward, which errs as the embedded model's."""
    random = np.random.default_rng(seed)
    truth = random.normal(0, 4, count).astype(np.float32)
    half, ours = (rounded(truth + random.normal(0, NOISE, count).astype(np.float32)) for _ in range(2))
    return truth, half, ours


def problem_of(truth: FloatArray, half: FloatArray, ours: FloatArray) -> str | None:
    return disagreement(ours, truth, half, "bfloat16")


def rounded(logits: FloatArray) -> FloatArray:
    nearest: FloatArray = torch.tensor(logits).bfloat16().float().numpy()
    return nearest


@pytest.mark.parametrize("count", [16, 48])
def test_right_logits_pass_whatever_their_rounding(count: int) -> None:
    """Even with independent errors. Those of real forwards are alike, and so nearer to each other."""
    refused = [seed for seed in range(2000) if problem_of(*golden(seed, count)) is not None]
    assert len(refused) <= 2


def test_error_that_all_bfloat16_forwards_share_does_not_count() -> None:
    """Rounding of weights that were trained in float32."""
    for seed in range(200):
        truth, half, ours = golden(seed)
        shared = (0.3 + 0.05 * truth).astype(np.float32)
        assert problem_of(truth, half + shared, ours + shared) is None


def test_right_float16_logits_pass_where_bfloat16_forwards_share_an_error() -> None:
    for seed in range(200):
        truth, half, _ = golden(seed)
        ours = truth + (np.random.default_rng(seed).normal(0, NOISE / 8, len(truth))).astype(np.float32)
        assert disagreement(ours, truth, half + np.float32(0.3), "float16") is None


@pytest.mark.parametrize(
    ("shift", "factor", "alternating", "named"),
    [
        (0.05, 1, 0, "off on average"),
        (-0.05, 1, 0, "off on average"),
        (0, 1.01, 0, "off by a factor of 1.0"),
        (0, 0.99, 0, "off by a factor of 0.9"),
        (0, 1, 0.03, "rms"),
    ],
)
def test_errors_too_small_for_any_single_pair_are_seen_over_all(
    shift: float, factor: float, alternating: float, named: str
) -> None:
    problems = []
    for seed in range(200):
        truth, half, ours = golden(seed)
        signs = np.resize([1.0, -1.0], len(ours))
        problems.append(problem_of(truth, half, (ours * factor + shift + alternating * signs).astype(np.float32)))
    assert all(problems)
    assert sum(named in str(problem) for problem in problems) > 100
    assert any("golden pair" not in str(problem) for problem in problems)


@pytest.mark.parametrize("half_precision", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9])
def test_one_wrong_logit_is_seen_and_named(value: float, half_precision: bool) -> None:
    truth, half, ours = golden(0)
    logits = (ours if half_precision else truth).copy()
    logits[7] = value
    dtype, reference = ("bfloat16", half) if half_precision else ("float32", None)
    assert str(disagreement(logits, truth, reference, dtype)).startswith("golden pair 7 scores")


def test_float32_has_one_bound_for_every_pair() -> None:
    truth, _, _ = golden(0)
    assert disagreement(truth + np.float32(9e-5), truth, None, "float32") is None
    assert disagreement(truth + np.float32(1.1e-4), truth, None, "float32") is not None


def test_more_golden_pairs_hide_less() -> None:
    few, many = (bounds(*golden(0, count)[:2]) for count in (16, 64))
    assert (many.shift, many.scale) < (few.shift, few.scale)
    assert many.rms < few.rms
    assert "a constant error below" in few.hidden("bfloat16")


@pytest.mark.parametrize("truth", [np.zeros(48), np.full(48, 3.0), np.array([1.0, 2.0])])
def test_pairs_too_few_or_alike_still_have_a_bound(truth: FloatArray) -> None:
    truth = truth.astype(np.float32)
    half = truth + np.float32(0.01)
    assert disagreement(half, truth, half, "bfloat16") is None
    assert disagreement(half + 1, truth, half, "bfloat16") is not None
