"""The model card's loop: Hugging Face over batches of 64 pairs, each padded to its longest pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.bench.engine.peers import token_loop

PACKAGES = ("transformers", "torch")
BATCH = 64


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    torch.set_num_threads(settings["threads"])
    if settings["recipe"]["score"]["kind"] != "classifier":
        return token_loop.load(settings, BATCH)
    notes = []
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        settings["model"], dtype=getattr(torch, settings["dtype"]), local_files_only=True
    )
    model = model.eval().to(settings["device"])
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        notes.append("pads with the end-of-text token, because the checkpoint has no pad token")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id

    @torch.inference_mode()
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        documents = request["documents"]
        scores: list[float] = []
        for start in range(0, len(documents), BATCH):
            batch = documents[start : start + BATCH]
            inputs = tokenizer(
                [request["query"]] * len(batch),
                batch,
                padding=True,
                truncation=True,
                max_length=settings["max_pair_tokens"],
                return_tensors="pt",
            ).to(settings["device"])
            scores += model(**inputs).logits.float().flatten().tolist()
        return {"scores": scores}

    return answer, notes
