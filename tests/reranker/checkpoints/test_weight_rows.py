"""Rows of a tensor are read alone, from a file or from memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reranker.checkpoints.weights import ModuleWeights, SafetensorsWeights, Weights
from reranker.errors import CheckpointError, MissingWeights

TABLE = torch.arange(24, dtype=torch.bfloat16).view(6, 4)


def in_file(directory: Path) -> Weights:
    path = directory / "model.safetensors"
    save_file({"table": TABLE}, path)
    return SafetensorsWeights("toy", [path])


def in_memory(directory: Path) -> Weights:
    return ModuleWeights("toy", {"table": TABLE})


@pytest.mark.parametrize("make", [in_file, in_memory])
def test_rows_are_read_in_the_given_order_in_float32(make: Callable[[Path], Weights], tmp_path: Path) -> None:
    rows = make(tmp_path).rows("table", [5, 0, 5])
    assert torch.equal(rows, TABLE[[5, 0, 5]].float())


@pytest.mark.parametrize("make", [in_file, in_memory])
def test_rows_of_an_absent_tensor_or_outside_it_are_refused(make: Callable[[Path], Weights], tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="head"):
        make(tmp_path).rows("head", [0])
    for row in (6, -1):
        with pytest.raises(CheckpointError, match=f"no row {row} in table: it has rows 0 to 5"):
            make(tmp_path).rows("table", [0, row])
