"""sentence-transformers' CrossEncoder as its users call it, except that it returns logits, not probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import CrossEncoder

PACKAGES = ("sentence-transformers", "transformers", "torch")


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    torch.set_num_threads(settings["threads"])
    notes = []
    model = CrossEncoder(
        settings["model"],
        max_length=settings["max_pair_tokens"],
        device=settings["device"],
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, settings["dtype"])},
    )
    if model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
        notes.append("pads with the end-of-text token, because the checkpoint has no pad token")
    if model.model.config.pad_token_id is None:
        model.model.config.pad_token_id = model.tokenizer.pad_token_id

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        pairs = [(request["query"], document) for document in request["documents"]]
        scores = model.predict(pairs, show_progress_bar=False, activation_fn=torch.nn.Identity())
        return {"scores": [float(score) for score in scores]}

    return answer, notes
