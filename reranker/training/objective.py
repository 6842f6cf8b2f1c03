"""The loss of a micro-batch as its settings name it."""

from __future__ import annotations

import torch
from torch import Tensor

from reranker.training import losses
from reranker.training.settings import LossSettings


def objective(logits: Tensor, labels: Tensor, targets: Tensor, real: Tensor, settings: LossSettings) -> Tensor:
    """Weighted sum of the terms per query, float32 (queries,). All arguments: see `losses`."""
    total = torch.zeros(len(logits), device=logits.device)
    for name, weight in settings.terms.items():
        match name:
            case "ranknet":
                term = losses.ranknet(logits, labels, real)
            case "soft_ranknet":
                term = losses.soft_ranknet(logits, targets, real)
            case "kl":
                term = losses.kl_distillation(logits, targets, real, settings.temperature)
            case "margin_mse":
                term = losses.margin_mse(logits, labels, targets, real)
            case "listnet":
                term = losses.listnet(logits, labels, real)
            case "info_nce":
                term = losses.info_nce(logits, labels, real)
        total = total + weight * term
    return total
