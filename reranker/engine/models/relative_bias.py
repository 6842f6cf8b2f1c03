"""T5's relative position bias on attention scores (Raffel et al., 2020): learned, by bucket of distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class RelativeBias:
    """The bias of a bidirectional pass. Its layers share one."""

    def __init__(self, weight: Tensor, max_distance: int) -> None:
        """weight: float32 (buckets, heads), the bias of each bucket. Farther keys have the bias of max_distance."""
        self._max_distance = max_distance
        buckets = distance_buckets(torch.arange(-max_distance, max_distance + 1), len(weight), max_distance)
        self._by_distance = weight.t()[:, buckets.to(weight.device)]

    def over(self, longest: int) -> Tensor:
        """By query and key position: float32 (heads, longest, longest)."""
        distances = torch.arange(1 - longest, longest, device=self._by_distance.device)
        indices = distances.clamp_(-self._max_distance, self._max_distance) + self._max_distance
        # A window holds the distances from one query to all keys; the first window is that of the last query.
        return self._by_distance[:, indices].unfold(1, longest, 1).flip(1)


def distance_buckets(distances: Tensor, buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance, which is a key's position less a query's: int64 like `distances`.

    Keys behind the query have the second half of the buckets. In each half, a distance below half the half's number
    has a bucket of its own; larger ones share buckets evenly by logarithm, and the last has max_distance and beyond.
    """
    half = buckets // 2
    own = half // 2
    away = distances.abs()
    part = torch.log(away.clamp(min=own).float() / own) / math.log(max_distance / own)
    shared = (own + (part * (half - own)).long()).clamp(max=half - 1)
    return (distances > 0).long() * half + torch.where(away < own, away, shared)
