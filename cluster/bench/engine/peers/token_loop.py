"""The authors' loop of language models: padded batches through Hugging Face, and the logits of two tokens.

As the cards of Qwen3-Reranker and MonoT5 write it: the texts of a batch are tokenized in one call, causal models are
padded on the left, and of the vocabulary's logits at the last token a few are read.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from reranker.checkpoints.score_tokens import token_weights
from reranker.recipe import Recipe
from reranker.types import Passage


def load(settings: dict[str, Any], batch: int) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    recipe = Recipe.model_validate(settings["recipe"])
    template, decodes = recipe.template, recipe.score.kind == "first_decoded"
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], local_files_only=True)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.padding_side = "right" if decodes else "left"
    kind = AutoModelForSeq2SeqLM if decodes else AutoModelForCausalLM
    model: Any = kind.from_pretrained(
        settings["model"], dtype=getattr(torch, settings["dtype"]), local_files_only=True
    )
    model = model.eval().to(settings["device"])
    weights = token_weights(recipe.score, tokenizer, None, settings["model"])
    columns, factors = list(weights), torch.tensor(list(weights.values()))
    end = [tokenizer.eos_token_id] if template.special_tokens == "single" else []
    place = template.document_place
    piece, instruction = template.pieces[place], template.instruction or ""

    def ids_of(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.inference_mode()
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        query, documents = request["query"], request["documents"]
        others = [
            [] if other.has_document else ids_of(other.around(query, instruction).before) for other in template.pieces
        ]
        before, after = (list(chain(*parts)) for parts in (others[:place], others[place + 1 :]))
        around = piece.around(query, instruction)
        room = settings["max_pair_tokens"] - len(before) - len(after) - len(end)
        scores: list[float] = []
        for start in range(0, len(documents), batch):
            texts = [
                around.before + piece.document(Passage(text)) + around.after
                for text in documents[start : start + batch]
            ]
            bodies = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=room)["input_ids"]
            whole = {"input_ids": [[*before, *body, *after, *end] for body in bodies]}
            inputs = tokenizer.pad(whole, padding=True, return_tensors="pt").to(settings["device"])
            if decodes:
                first = model.config.decoder_start_token_id
                inputs["decoder_input_ids"] = torch.full((len(texts), 1), first, device=settings["device"])
            logits = model(**inputs).logits[:, -1]
            scores += (logits[:, columns].float().cpu() @ factors).tolist()
        return {"scores": scores}

    return answer, []
