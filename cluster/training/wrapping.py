"""What distributes a student's forward and its gradients over the workers of a process group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from cluster.training.settings import Sharding
from reranker.training.packed import PackedStudent


def wrapped(student: PackedStudent, sharding: Sharding, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The student itself where one worker trains alone. Its weights are on the device. dtype: of matrix products."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return student
    if sharding != "none":
        return _sharded(student, device, dtype, gather_once=sharding == "zero2")
    # Some checkpoints have weights that no forward here uses, such as a pooler before a head that reads the token.
    return DistributedDataParallel(
        student, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True
    )


def _sharded(student: PackedStudent, device: torch.device, dtype: torch.dtype, *, gather_once: bool) -> nn.Module:
    """FSDP2 over all workers. gather_once: a layer stays whole from its forward to its backward.

    Matrices are gathered in `dtype`, as autocast would cast them in one process, and their gradients are added in
    float32. Norms are gathered in float32: autocast does not cast them, and torch's on CPUs take nothing else.
    """
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    matrices = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    inner: Any = student.hugging_face.base_model
    layers: nn.ModuleList = inner.encoder.layer if hasattr(inner, "encoder") else inner.layers
    for layer in layers:
        fully_shard(list(_norms(layer)), mesh=mesh, reshard_after_forward=False)
        fully_shard(layer, mesh=mesh, mp_policy=matrices, reshard_after_forward=not gather_once)
    fully_shard(student, mesh=mesh)
    return student


def _norms(layer: nn.Module) -> Iterator[nn.Module]:
    return (part for part in layer.modules() if "norm" in type(part).__name__.lower())
