"""GPUs: what their makers say they can do, and how much of it this engine was measured to reach.

Peak figures are of dense bfloat16 matrix products with float32 sums. Data sheets often show twice as much, which only
2:4 sparse weights reach. Memory and bandwidth are decimal, as in the data sheets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Of the peak in the data sheet, the engine alone, on one H200: 448 documents/s of 95 tokens (docs/benchmarks.md) need
# 505 TFLOP/s by `roofline.needed_work`, 51 % of 989. The 77 % in that page are of something else: of plain matrix
# products of the same sizes, which reached 66 % of the peak there. No other GPU was measured.
SHARE_OF_PEAK = 0.51
MEASURED_GPU = "h200"


@dataclass(frozen=True, slots=True)
class Gpu:
    """peak_flops: dense bfloat16, per second. source: where the three figures come from."""

    name: str
    title: str
    peak_flops: float
    memory_bytes: float
    bandwidth_bytes_per_s: float
    source: str


def _gpu(name: str, title: str, tflops: float, memory_gb: float, bandwidth_gb_per_s: float, source: str) -> Gpu:
    return Gpu(name, title, tflops * 1e12, memory_gb * 1e9, bandwidth_gb_per_s * 1e9, source)


GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            _gpu(
                "l4",
                "L4",
                121,
                24,
                300,
                "https://www.nvidia.com/en-us/data-center/l4/ (242 TFLOPS with sparsity, half without)",
            ),
            _gpu(
                "a10g",
                "A10G",
                70,
                24,
                600,
                "https://d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf "
                "(70 TF, 140 with sparsity; the A10 has 125)",
            ),
            _gpu(
                "4090",
                "GeForce RTX 4090",
                165.2,
                24,
                1008,
                "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf, appendix A "
                "(165.2 / 330.4 with sparsity, float32 accumulate)",
            ),
            _gpu(
                "a100",
                "A100 80 GB SXM",
                312,
                80,
                2039,
                "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/"
                "nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf (312, 624 with sparsity)",
            ),
            _gpu(
                "h100",
                "H100 SXM",
                989,
                80,
                3350,
                "https://www.nvidia.com/en-us/data-center/h100/ (1,979 TFLOPS with sparsity, half without)",
            ),
            _gpu(
                "h200",
                "H200 SXM",
                989,
                141,
                4800,
                "https://www.nvidia.com/en-us/data-center/h200/ (1,979 TFLOPS with sparsity, half without)",
            ),
            _gpu(
                "b200",
                "B200 (HGX)",
                2250,
                180,
                8000,
                "https://www.nvidia.com/en-us/data-center/hgx/ (36 PFLOPS of 8 GPUs with sparsity, half without; "
                "1.4 TB of 8)",
            ),
        )
    }
)
