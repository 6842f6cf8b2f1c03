"""One optimizer step per answer, by this project's trainer: what the packed and the padded contender share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cluster.training.student import load_student
from reranker.training.batches import EncodedGroup
from reranker.training.packed import PackedStudent
from reranker.training.settings import LossSettings, StepSettings, StudentSettings
from reranker.training.trainer import Trainer
from reranker.types import Passage

LEARNING_RATE = 1e-5
_STEPS = 1_000_000  # of the schedule: more than any benchmark has


def stepper(
    settings: dict[str, Any], changed: Callable[[PackedStudent], PackedStudent]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answers {"groups": [{"query", "passages"}]} with the step's loss. changed: given the student that is loaded."""
    torch.set_num_threads(settings["threads"])
    student, encoder, _ = load_student(
        StudentSettings(
            model=settings["model"], template=settings["template"], max_pair_tokens=settings["max_pair_tokens"]
        ),
        seed=0,
    )
    device = torch.device(settings["device"])
    trainer = Trainer(
        changed(student).to(device),
        StepSettings(queries_per_step=settings["queries"], learning_rate=LEARNING_RATE, warmup_steps=0),
        LossSettings(terms={"ranknet": 1.0}),
        _STEPS,
        device=device,
        dtype=getattr(torch, settings["dtype"]),
    )

    def encoded(group: dict[str, Any]) -> EncodedGroup:
        pairs = encoder.encode(group["query"], [Passage(*passage) for passage in group["passages"]])
        labels = np.zeros(len(group["passages"]), dtype=np.float32)
        labels[0] = 1
        return EncodedGroup(pairs, labels, labels)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        started = time.process_time()
        report = trainer.train_step([encoded(group) for group in request["groups"]])
        return {"loss": report.loss, "cpu_s": time.process_time() - started}

    return answer
