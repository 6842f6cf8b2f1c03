"""GPUs that the manifests know: how a node with one is found, and its share of that node for each GPU.

A worker pod has one GPU and one scorer; a node with eight GPUs runs eight pods. CPUs and memory are what the smallest
machine of the three large clouds has for each GPU, less what kubelet, system and daemon sets keep for themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """memory_gb: of the GPU, the smallest of its kind. cpus, host_memory_gib: a pod's request. machine_cpus,
    machine_memory_gib: of the smallest machine, for each of its GPUs. labels: node label -> values that are this GPU.
    """

    memory_gb: int
    cpus: int
    host_memory_gib: int
    machine: str
    machine_cpus: int
    machine_memory_gib: int
    labels: dict[str, list[str]]

    def affinity(self) -> dict[str, Any]:
        """Nodes with this GPU, by whichever of the labels a cluster has."""
        terms = [
            {"matchExpressions": [{"key": key, "operator": "In", "values": values}]}
            for key, values in self.labels.items()
        ]
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def _labels(feature_discovery: list[str], gke: list[str], karpenter: str) -> dict[str, list[str]]:
    """feature_discovery: as NVIDIA's GPU operator labels nodes anywhere. gke: empty where Google has no such GPU."""
    labels = {"nvidia.com/gpu.product": feature_discovery, "karpenter.k8s.aws/instance-gpu-name": [karpenter]}
    return labels | ({"cloud.google.com/gke-accelerator": gke} if gke else {})


GPUS = {
    "l4": Gpu(24, 6, 24, "g2-standard-8, g6.2xlarge", 8, 32, _labels(["NVIDIA-L4"], ["nvidia-l4"], "l4")),
    "a10g": Gpu(24, 6, 24, "g5.2xlarge", 8, 32, _labels(["NVIDIA-A10G"], [], "a10g")),
    "a100": Gpu(
        *(40, 10, 64, "a2-highgpu-1g, p4d.24xlarge", 12, 79),
        _labels(
            ["NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-PCIE-40GB", "NVIDIA-A100-80GB-PCIe"],
            ["nvidia-tesla-a100", "nvidia-a100-80gb"],
            "a100",
        ),
    ),
    "h100": Gpu(
        *(80, 20, 128, "a3-highgpu-8g, p5.48xlarge", 24, 217),
        _labels(["NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe"], ["nvidia-h100-80gb"], "h100"),
    ),
}
