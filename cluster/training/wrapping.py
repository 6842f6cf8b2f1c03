"""What distributes a student's forward and its gradients over the workers of a process group."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from reranker.training.packed import PackedStudent


def wrapped(student: PackedStudent, sharding: Literal["none", "fsdp"], device: torch.device) -> nn.Module:
    """The student itself where one worker trains alone. Its weights are on the device."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return student
    if sharding == "fsdp":
        return _sharded(student, device)
    # Some checkpoints have weights that no forward here uses, such as a pooler before a head that reads the token.
    return DistributedDataParallel(
        student, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
    )


def _sharded(student: PackedStudent, device: torch.device) -> nn.Module:
    """FSDP2: each layer's weights are gathered for its forward and backward only."""
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    inner: Any = student.hugging_face.base_model
    layers = inner.encoder.layer if hasattr(inner, "encoder") else inner.layers
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(student, mesh=mesh)
    return student
