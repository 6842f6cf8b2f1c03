"""Fused linear layers give the result of a linear layer followed by the elementwise operation."""

import os

import pytest
import torch
from torch.nn import functional

from reranker.engine.models.linear import Linear, fuses

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)  # float16 is not fused on CPUs: the path of other devices
def test_fused_linear_equals_linear_then_elementwise(dtype: torch.dtype, with_bias: bool, rows: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(24, 16) / 4, torch.randn(rows, 16)
    bias = torch.randn(24) if with_bias else None
    other = torch.randn(rows, 24)
    linear = Linear(weight.to(dtype), None if bias is None else bias.to(dtype))
    plain = functional.linear(x, weight, bias)

    def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
        assert ours.dtype is dtype
        torch.testing.assert_close(ours.float(), expected, rtol=TOLERANCE[dtype] * 4, atol=TOLERANCE[dtype] * 4)

    x, other = x.to(dtype), other.to(dtype)
    close(linear(x), plain)
    close(linear.activated(x, "silu"), functional.silu(plain))
    close(linear.activated(x, "gelu"), functional.gelu(plain))
    close(linear.activated(x, "gelu_tanh"), functional.gelu(plain, approximate="tanh"))
    close(linear.activated(x, "relu"), functional.relu(plain))
    close(linear.times(x, other), plain * other.float())
    close(linear.plus(x, other), plain + other.float())


def test_only_cpus_fuse_and_not_float16() -> None:
    assert fuses(torch.float32, torch.device("cpu")) == torch.backends.mkldnn.is_available()
    assert not fuses(torch.float16, torch.device("cpu"))
    assert not fuses(torch.bfloat16, torch.device("cuda"))
    if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":  # as in `make test-slow`
        assert not fuses(torch.bfloat16, torch.device("cpu"))
