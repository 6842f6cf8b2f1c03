"""The mean of the weights over the last part of a run, which is often better than the last step's.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from reranker.training.sharding import shared_like


class MeanWeights:
    """A running mean of these parameters from `first_step` + 1 on."""

    def __init__(self, parameters: Sequence[nn.Parameter], first_step: int) -> None:
        self._parameters = list(parameters)
        self._first_step = first_step
        self._count = 0
        self._mean: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take the weights after this step into the mean."""
        if step <= self._first_step:
            return
        self._count += 1
        if self._count == 1:
            self._mean = [parameter.detach().clone() for parameter in self._parameters]
        else:
            torch._foreach_lerp_(self._mean, [p.detach() for p in self._parameters], 1 / self._count)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the parameters hold the mean; nothing changes before the first step that counts."""
        if not self._count:
            yield
            return
        before = [parameter.detach().clone() for parameter in self._parameters]
        self._copy(self._mean)
        try:
            yield
        finally:
            self._copy(before)

    @torch.no_grad()
    def _copy(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "mean": self._mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count, self._mean = (
            state["count"],
            [shared_like(value, p).to(p.device) for value, p in zip(state["mean"], self._parameters, strict=False)],
        )
