"""sentence-transformers' CrossEncoderTrainer with its RankNetLoss, as its users call it.

A round is one `train()` of one step. Its seconds are those between the begin and the end of the epoch: reading the
groups, tokenizing, forward, backward and update, without what `train()` sets up before.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found,import-untyped,unused-ignore]
from sentence_transformers.cross_encoder import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from sentence_transformers.cross_encoder.losses import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    RankNetLoss,
)
from transformers import TrainerCallback

PACKAGES = ("sentence-transformers", "transformers", "accelerate", "torch")


class _Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
    def __init__(self) -> None:
        self.step_s = self.cpu_s = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._started, self._cpu = time.perf_counter(), time.process_time()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.step_s, self.cpu_s = time.perf_counter() - self._started, time.process_time() - self._cpu


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    torch.set_num_threads(settings["threads"])
    model = CrossEncoder(
        settings["model"],
        max_length=settings["max_pair_tokens"],
        device=settings["device"],
        local_files_only=True,
        model_kwargs={"dtype": torch.float32},
    )
    notes = []
    if model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
        model.model.config.pad_token_id = model.tokenizer.pad_token_id
        notes.append("pads with the end-of-text token, because the checkpoint has no pad token")
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], weight_decay=0.01, fused=True)
    directory = tempfile.mkdtemp(prefix="reranker-bench-trainer-")
    arguments = CrossEncoderTrainingArguments(
        output_dir=directory,
        per_device_train_batch_size=settings["queries"],
        max_steps=1,
        bf16=settings["dtype"] == "bfloat16",
        use_cpu=settings["device"] == "cpu",
        max_grad_norm=1.0,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    loss = RankNetLoss(model, mini_batch_size=settings["batch_pairs"], reduction_log="natural")

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        groups = request["groups"]
        clock = _Clock()
        # The optimizer and its moments are those of the rounds before; only the loop around them is new.
        trainer = CrossEncoderTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(
                {
                    "query": [group["query"] for group in groups],
                    "docs": [group["documents"] for group in groups],
                    "labels": [[1.0] + [0.0] * (len(group["documents"]) - 1) for group in groups],
                }
            ),
            loss=loss,
            optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)),
            callbacks=[clock],
        )
        output = trainer.train()
        return {"loss": float(output.training_loss), "step_s": clock.step_s, "cpu_s": clock.cpu_s}

    notes.append(f"{settings['batch_pairs']} pairs at once (mini_batch_size), padded to their longest")
    return answer, notes
