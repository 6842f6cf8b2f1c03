"""infinity-emb's engine without its HTTP server: batches of 32 pairs, sorted by length."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from infinity_emb import EngineArgs, SyncEngineArray  # type: ignore[import-not-found]

PACKAGES = ("infinity-emb", "sentence-transformers", "transformers", "torch")


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    torch.set_num_threads(settings["threads"])
    directory, notes = _readable_copy(Path(settings["model"]), settings["max_pair_tokens"])
    arguments = EngineArgs(
        model_name_or_path=str(directory),
        served_model_name="model",
        engine="torch",
        device=settings["device"].split(":")[0],
        dtype=settings["dtype"],
        trust_remote_code=False,
        model_warmup=False,
        # Current transformers has no BetterTransformer.
        bettertransformer=False,
    )
    engine = SyncEngineArray.from_args([arguments])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        ranking, _ = engine.rerank(
            model="model", query=request["query"], docs=request["documents"], raw_scores=True
        ).result()
        scores = [0.0] * len(request["documents"])
        for hit in ranking:
            scores[hit.index] = float(hit.relevance_score)
        return {"scores": scores}

    return answer, notes


def _readable_copy(model: Path, max_pair_tokens: int) -> tuple[Path, list[str]]:
    """Links to the checkpoint's files, and two configs rewritten for the transformers 4 that infinity needs.

    Version 5 writes `rope_parameters`, which version 4 ignores silently, and `TokenizersBackend`, which it refuses.
    Infinity reads its maximum length and pad token from the tokenizer's config only.
    """
    copy = Path(tempfile.mkdtemp(prefix="reranker-bench-infinity-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for file in model.iterdir():
        if file.is_file():
            (copy / file.name).symlink_to(file.resolve())
    config = json.loads((model / "config.json").read_bytes())
    rope = config.pop("rope_parameters", None)
    if rope:
        config["rope_theta"] = rope.pop("rope_theta", 10_000.0)
        config["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
    config["torch_dtype"] = config.pop("dtype", config.get("torch_dtype"))
    tokenizer = json.loads((model / "tokenizer_config.json").read_bytes())
    if tokenizer.get("tokenizer_class") == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    tokenizer["model_max_length"] = max_pair_tokens
    notes = ["reads a copy whose configs were rewritten for transformers 4"]
    if not tokenizer.get("pad_token"):
        tokenizer["pad_token"] = tokenizer["eos_token"]
        notes.append("pads with the end-of-text token, because the checkpoint has no pad token")
    if config.get("pad_token_id") is None:
        config["pad_token_id"] = config["eos_token_id"]
    for name, content in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        (copy / name).unlink()
        (copy / name).write_text(json.dumps(content))
    return copy, notes
