"""Whole tensors from weights that workers share (FSDP2), and back. Without sharding nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def whole(value: Any) -> Any:
    """The same nested dicts and lists, with a whole tensor on the CPU for each shared one.

    Where weights are shared, every worker calls this at the same time.
    """
    if isinstance(value, DTensor):
        return value.full_tensor().detach().cpu()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def shared_like(value: Any, like: Tensor) -> Any:
    """A whole tensor as this worker's share, if `like` is shared and of the same shape; else the value itself."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def reshard(module: nn.Module) -> None:
    """Drop the weights that a forward without a backward left whole: they would outlive a change of the shares."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def load_student(student: nn.Module, state: dict[str, Tensor]) -> None:
    """load_state_dict, from whole tensors."""
    own = student.state_dict()
    student.load_state_dict({name: shared_like(value, own[name]) for name, value in state.items()})


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """load_state_dict, from whole tensors."""
    parameters: Sequence[torch.Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {name: shared_like(value, parameters[number]) for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})
