"""How fast this machine multiplies matrices of the model's own sizes: the roof over every contender.

Nothing but `torch.nn.functional.linear`: no attention, no norms, no texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear

PACKAGES = ("torch",)
COPIES_BYTES = 256 * 2**20  # of different weights, so that they come from memory as a model's layers do
MIN_SECONDS = 0.8


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    """settings: `linears` [inputs, outputs] of a layer, `layers`, and `rows`, the tokens of a batch."""
    torch.set_num_threads(settings["threads"])
    device, dtype = settings["device"], getattr(torch, settings["dtype"])
    sizes, rows = settings["linears"], settings["rows"]
    weights = sum(inputs * outputs for inputs, outputs in sizes)
    copies = max(1, min(settings["layers"], COPIES_BYTES // (weights * dtype.itemsize)))
    layers = [
        [torch.randn(outputs, inputs, dtype=dtype, device=device) for inputs, outputs in sizes] for _ in range(copies)
    ]
    tokens = {inputs: torch.randn(rows, inputs, dtype=dtype, device=device) for inputs, _ in sizes}

    @torch.inference_mode()
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        _wait(device)
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < MIN_SECONDS:
            for layer in layers:
                for weight in layer:
                    linear(tokens[weight.shape[1]], weight)
            _wait(device)
            done += len(layers)
        seconds = time.perf_counter() - started
        return {"flops_per_s": 2 * rows * weights * done / seconds}

    return answer, []


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
