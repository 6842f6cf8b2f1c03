"""The files of a run: its curve, and the trained checkpoint."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.training.results.saving import saving
from cluster.training.student import merged
from reranker.errors import CannotWrite
from reranker.files import write_errors
from reranker.training.packed import PackedStudent
from reranker.training.sharding import whole

CURVE, MODEL = "curve.csv", "model"


@dataclass(frozen=True, slots=True)
class CurveRow:
    """One line of curve.csv. ndcg: nDCG@10 on the held collection where it was measured."""

    step: int
    minutes: float
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_s: float
    ndcg: float | None = None


class Curve:
    """curve.csv, written row by row. A resumed run continues it from its step."""

    def __init__(self, path: Path, from_step: int) -> None:
        self.rows = [row for row in read_curve(path) if row.step <= from_step]
        self._path = path
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, CurveRow.__slots__)
            writer.writeheader()
            writer.writerows(map(_written, self.rows))

    def add(self, row: CurveRow) -> None:
        self.rows.append(row)
        with write_errors(self._path), self._path.open("a", newline="") as file:
            csv.DictWriter(file, CurveRow.__slots__).writerow(_written(row))


def read_curve(path: Path) -> list[CurveRow]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [
            CurveRow(
                step=int(row["step"]),
                ndcg=float(row["ndcg"]) if row["ndcg"] else None,
                **{name: float(row[name]) for name in CurveRow.__slots__[1:-1]},
            )
            for row in csv.DictReader(file)
        ]


def collect_model(student: PackedStudent, dtype: torch.dtype) -> tuple[Any, dict[str, torch.Tensor]]:
    """The module to save, and its whole weights on the CPU. All workers call this where they share the weights."""
    module = merged(student)
    return module, {
        name: value.detach().to("cpu", dtype, copy=True).contiguous()
        for name, value in whole(module.state_dict()).items()
    }


def save_model(
    directory: Path, module: Any, weights: Mapping[str, torch.Tensor], tokenizer: Any, dtype: torch.dtype
) -> None:
    """Write a Hugging Face checkpoint, replacing one from before only when it is whole. Raises CannotWrite."""
    temporary = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    before = {name: getattr(module.config, name, None) for name in ("dtype", "_attn_implementation")}
    try:
        with saving(directory):
            module.config._attn_implementation = "sdpa"
            module.save_pretrained(temporary, state_dict=dict(weights))
            module.config.dtype = dtype  # save_pretrained wrote that of the module, whose weights are not those saved
            module.config.save_pretrained(temporary)
            tokenizer.chat_template = None  # of the model before it was trained on pairs
            tokenizer.save_pretrained(temporary)
    except CannotWrite:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        for name, value in before.items():
            setattr(module.config, name, value)
    shutil.rmtree(directory, ignore_errors=True)
    temporary.replace(directory)


def _written(row: CurveRow) -> dict[str, Any]:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
