"""How fast this machine multiplies matrices of the model's sizes: the roofline of every contender.

It times `torch.nn.functional.linear` alone: no attention, no norms, no texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

from reranker.engine.workers import Workers

PACKAGES = ("torch",)
COPIES_BYTES = 256 * 2**20  # weights of several layers, so that they are read from memory and not from a cache
MIN_SECONDS = 0.8


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    """settings: `linears`, [inputs, outputs] of a layer; `layers`; `rows`, the tokens per pass; `workers`.

    With several workers, the faster of two ways counts: all threads in one product, or one product per worker.
    """
    threads, workers = settings["threads"], settings["workers"]
    torch.set_num_threads(threads)
    device, dtype = settings["device"], getattr(torch, settings["dtype"])
    sizes = settings["linears"]
    weights = sum(inputs * outputs for inputs, outputs in sizes)
    copies = max(1, min(settings["layers"], COPIES_BYTES // (weights * dtype.itemsize)))
    layers = [
        [torch.randn(outputs, inputs, dtype=dtype, device=device) for inputs, outputs in sizes] for _ in range(copies)
    ]

    @torch.inference_mode()
    def flops_per_s(rows: int) -> float:
        tokens = {inputs: torch.randn(rows, inputs, dtype=dtype, device=device) for inputs, _ in sizes}
        _wait(device)
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < MIN_SECONDS:
            for layer in layers:
                for weight in layer:
                    linear(tokens[weight.shape[1]], weight)
            _wait(device)
            done += len(layers)
        return float(2 * rows * weights * done) / (time.perf_counter() - started)

    pool = Workers(workers, threads // workers) if workers > 1 else None

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        speed = flops_per_s(settings["rows"] * workers)
        if pool is not None:
            each = pool.map(lambda rows: partial(flops_per_s, rows), [settings["rows"]] * workers)
            speed = max(speed, sum(each))
        return {"flops_per_s": speed}

    return answer, []


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
