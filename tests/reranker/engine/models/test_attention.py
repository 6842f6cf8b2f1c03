"""Half-precision attention is as near to exact attention as torch's fused kernel, which Hugging Face uses."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from reranker.engine.models.attention import BlockAttention
from reranker.engine.models.heads import Heads
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
