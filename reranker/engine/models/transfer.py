"""Arrays on their way to the device, and logits put back in the order they were asked for."""

import numpy as np
import torch
from torch import Tensor

from reranker.engine.models.packed import Sequences


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor of its own dtype. On CUDA the copy is pinned and does not wait for what runs there."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def in_order(logits: Tensor, sequences: Sequences) -> Tensor:
    """Logits of laid sequences (sequences, 1) -> float32 (sequences,) in the caller's order."""
    ordered = torch.empty(len(sequences), device=logits.device)
    ordered[on_device(sequences.origin, logits.device)] = logits[:, 0].float()
    return ordered
