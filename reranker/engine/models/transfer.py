"""Copies arrays to the device, and restores the input order of logits."""

import numpy as np
import torch
from torch import Tensor

from reranker.engine.models.packed import Sequences


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor of the same dtype. For CUDA it is pinned and copied asynchronously."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def in_input_order(logits: Tensor, sequences: Sequences) -> Tensor:
    """Logits of packed sequences (sequences, 1) -> float32 (sequences,) in input order."""
    ordered = torch.empty(len(sequences), device=logits.device)
    ordered[on_device(sequences.input_index, logits.device)] = logits[:, 0].float()
    return ordered
