"""sentence-transformers' CrossEncoder as its users call it, except that it returns logits, not probabilities."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

import torch
from sentence_transformers import CrossEncoder

PACKAGES = ("sentence-transformers", "transformers", "torch")
_TEXT_GENERATION = {
    "transformer_task": "text-generation",
    "modality_config": {
        "text": {"method": "forward", "method_output_name": "logits"},
        "message": {"method": "forward", "method_output_name": "logits", "format": "flat"},
    },
    "module_output_name": "causal_logits",
}


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    torch.set_num_threads(settings["threads"])
    notes = []
    directory = settings["model"]
    asked = settings["recipe"]["template"]["special_tokens"] != "pair"
    if asked:
        directory = _saved_with_chat_template(Path(directory), settings["recipe"])
        notes.append("reads a copy with the recipe as its chat template")
    model = CrossEncoder(
        directory,
        max_length=settings["max_pair_tokens"],
        device=settings["device"],
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, settings["dtype"])},
    )
    if asked:
        model.tokenizer.padding_side = "left"
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


def _saved_with_chat_template(model: Path, recipe: dict[str, Any]) -> str:
    """Links to the checkpoint's files, and files in which CrossEncoder keeps a language model's prompt and score."""
    from transformers import AutoTokenizer

    copy = Path(tempfile.mkdtemp(prefix="reranker-bench-crossencoder-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for file in model.iterdir():
        if file.is_file():
            (copy / file.name).symlink_to(file.resolve())
    kinds = ("base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore")
    modules = [
        {"idx": n, "name": str(n), "path": "1_LogitScore" if n else "", "type": f"sentence_transformers.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "sentence_bert_config.json").write_text(json.dumps(_TEXT_GENERATION))
    tokenizer = AutoTokenizer.from_pretrained(copy, local_files_only=True)
    weights = sorted(recipe["score"]["tokens"].items(), key=lambda item: -item[1])
    ids = [tokenizer(token, add_special_tokens=False)["input_ids"][0] for token, _ in weights]
    (copy / "1_LogitScore").mkdir()
    score = {"true_token_id": ids[0], "false_token_id": ids[1] if len(ids) > 1 else None}
    (copy / "1_LogitScore" / "config.json").write_text(json.dumps(score))
    parts = []
    for piece in recipe["template"]["pieces"]:
        for literal, slot, _, _ in Formatter().parse(piece["text"]):
            parts.append(json.dumps(literal))
            if slot == "instruction":
                parts.append(json.dumps(recipe["template"]["instruction"]))
            elif slot is not None:
                parts.append(f"messages[{0 if slot == 'query' else 1}].content")
    (copy / "chat_template.jinja").write_text("{{ " + " ~ ".join(parts) + " }}")
    return str(copy)
