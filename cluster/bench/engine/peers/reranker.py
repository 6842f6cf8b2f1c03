"""This project's engine in one process, from text to logits as in `Reranker.score`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import Passage

PACKAGES = ("dear-reranker", "transformers", "torch")


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    checkpoint = CheckpointSettings.model_validate(
        {name: settings[name] for name in ("model", "max_pair_tokens", "dtype", "device")}
    )
    loaded = load_verified(checkpoint, EngineSettings(threads=settings["threads"]))

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        pairs = loaded.encoder.encode(request["query"], [Passage(*passage) for passage in request["passages"]])
        tokenizing_s = time.perf_counter() - started
        scores = pairs.candidate_scores(loaded.engine.score(pairs))
        return {"scores": scores.logits.tolist(), "tokenizing_s": tokenizing_s}

    return answer, [loaded.description.fidelity]
