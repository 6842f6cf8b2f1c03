"""Attention over blocks is exact attention, and in half precision as near to it as torch's fused kernel."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from reranker.engine.models.attention import BlockAttention
from reranker.engine.models.heads import Heads, KeysValues
from reranker.engine.models.linear import fuses
from reranker.engine.models.packed import Sequences

CPU = torch.device("cpu")
TOKENS, HEADS, SIZE = 40, 4, 32
# Fused bf16 products round the scores; fused linear layers round less often and make up for it. No CPU fuses fp16.
UNFUSED = [dtype for dtype in (torch.bfloat16, torch.float16) if not fuses(dtype, CPU)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", UNFUSED, ids=str)
def test_unfused_attention_error_is_no_larger_than_that_of_torchs_kernel(dtype: torch.dtype, causal: bool) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(TOKENS, 3 * HEADS, SIZE)
    qkv[:, :HEADS] *= 3  # scores as far apart as those of a trained model
    qkv = qkv.to(dtype)
    sequences = Sequences.pack([np.arange(TOKENS, dtype=np.int32)])
    ours = BlockAttention(sequences, Heads(HEADS, HEADS, SIZE), causal=causal, device=CPU).all_tokens(qkv, [])
    assert ours.dtype is dtype

    def torchs(inputs: torch.Tensor) -> torch.Tensor:
        q, k, v = inputs.transpose(0, 1)[None].split(HEADS, dim=1)
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return out[0].transpose(0, 1).reshape(TOKENS, HEADS * SIZE)

    exact = torchs(qkv.double())
    assert (ours - exact).abs().mean() <= (torchs(qkv) - exact).abs().mean()


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    prefix_length=st.integers(0, 5),
    mask=st.sampled_from(["causal", None, 1, 4, 50]),
    max_scores=st.one_of(st.none(), st.integers(1, 500)),
    seed=st.integers(0, 99),
)
def test_tokens_attend_to_all_they_see_however_few_scores_are_computed_at_once(
    lengths: list[int], prefix_length: int, mask: str | int | None, max_scores: int | None, seed: int
) -> None:
    """mask: "causal", or how far a token sees on each side."""
    torch.manual_seed(seed)
    heads, causal, window = Heads(4, 2, 8), mask == "causal", mask if isinstance(mask, int) else None
    past = prefix_length if causal else 0
    count = len(lengths)
    sequences = Sequences.pack(
        [np.arange(length, dtype=np.int32) for length in lengths],
        *((np.zeros(count, dtype=np.int32), np.full(count, past, dtype=np.int32)) if past else ()),
    )
    qkv = torch.randn(sum(lengths), heads.query + 2 * heads.key, heads.size)
    prefix = torch.randn(2, heads.key, past, heads.size)
    attention = BlockAttention(sequences, heads, causal=causal, device=CPU, window=window, max_scores=max_scores)
    ours = attention.all_tokens(qkv, [KeysValues(*prefix)] if past else [])
    for start, end in pairwise(sequences.starts):
        q, k, v = qkv[start:end].double().transpose(0, 1).split((heads.query, heads.key, heads.key))
        k, v = (
            torch.cat((shared.double(), own), 1).repeat_interleave(2, 0)
            for shared, own in zip(prefix, (k, v), strict=True)
        )
        at = torch.arange(past, past + end - start)[:, None]
        keys = torch.arange(past + end - start)
        seen = keys <= at if causal else (keys - at).abs() <= (window or 100)
        exact = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        torch.testing.assert_close(ours[start:end].double(), exact.transpose(0, 1).flatten(1), atol=1e-5, rtol=1e-5)
