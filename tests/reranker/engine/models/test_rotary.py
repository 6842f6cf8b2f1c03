"""A rotation of pairs side by side gives the attention scores of Hugging Face's rotation of halves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reranker.engine.models.rotary import pair_rotations, paired, rotate_, rotate_pairs_, rotations

TOKENS, HEADS = 7, 3


@given(half=st.integers(1, 20), seed=st.integers(0, 5))
def test_rotated_pairs_give_the_scores_of_rotated_halves(half: int, seed: int) -> None:
    torch.manual_seed(seed)
    size = 2 * half
    angles = torch.randn(1, TOKENS, half).repeat(1, 1, 2)
    tables = angles.cos(), angles.sin()
    q, k = torch.randn(2, TOKENS, HEADS, size)
    pairs = [x[..., paired(size)].contiguous() for x in (q, k)]
    for x, y in zip((q, k), pairs, strict=True):
        rotate_(x, *rotations(tables))
        rotate_pairs_(y, pair_rotations(tables))
        assert torch.allclose(x[..., paired(size)], y, atol=1e-6)
    scores = [torch.einsum("qhd,khd->hqk", x, y) for x, y in ((q, k), pairs)]
    assert torch.allclose(*scores, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once_and_in_place(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    angles = torch.randn(1, TOKENS, 8).repeat(1, 1, 2)
    rotation = pair_rotations((angles.cos(), angles.sin()))
    whole = torch.randn(TOKENS, 2 * HEADS, 16).to(dtype)
    exact, untouched = whole[:, :HEADS].float(), whole[:, HEADS:].clone()
    rotate_pairs_(exact, rotation)
    rotate_pairs_(whole[:, :HEADS], rotation)
    assert torch.equal(whole[:, :HEADS], exact.to(dtype))
    assert torch.equal(whole[:, HEADS:], untouched)
