"""The curve of a run as a picture: loss, and nDCG@10 on the held collection. Loads matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cluster.bench.picture import GREEN, ORANGE, saved_figure
from cluster.training.results.output import CurveRow

_SMOOTHED = 0.02  # of the run's steps are one point's mean: the loss of single steps is noise


def draw_curve(path: Path, rows: Sequence[CurveRow]) -> None:
    if not rows:
        return
    measured = [row for row in rows if row.ndcg is not None]
    steps, loss = np.array([row.step for row in rows]), np.array([row.loss for row in rows])
    width = max(1, round(_SMOOTHED * len(rows)))
    mean = np.convolve(loss, np.ones(width) / width, mode="valid")
    with saved_figure(path, 3.4) as figure:
        axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
        axes[0].plot(steps[width - 1 :], mean, color=ORANGE, linewidth=1.2)
        axes[0].set_title(f"loss, mean of {width} steps" if width > 1 else "loss")
        axes[0].set_xlabel("step")
        if measured:
            axes[1].plot(
                [row.step for row in measured], [row.ndcg for row in measured], color=GREEN, marker="o", markersize=3
            )
            axes[1].set_title("nDCG@10 on the held collection")
            axes[1].set_xlabel("step")
