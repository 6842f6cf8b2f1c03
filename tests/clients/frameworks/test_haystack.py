"""Haystack's rankers."""

from __future__ import annotations

from typing import Any

from ranking import DOCUMENTS, KEY, MODEL, QUERY, Client, Hit, by_text, check, table


def key() -> Any:
    from haystack.utils import Secret

    return Secret.from_token(KEY)


def ran(ranker: Any) -> list[Hit]:
    from haystack import Document

    if hasattr(ranker, "warm_up"):
        ranker.warm_up()
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in DOCUMENTS])
    # Mixedbread's ranker writes its scores beside the metadata.
    return by_text([(d.content, d.meta.get("rerank_score", d.score)) for d in found["documents"]])


def cohere(url: str) -> list[Hit]:
    from haystack_integrations.components.rankers.cohere import CohereRanker

    return ran(CohereRanker(MODEL, api_key=key(), api_base_url=url))


def jina(url: str) -> list[Hit]:
    from haystack_integrations.components.rankers.jina import JinaRanker

    return ran(JinaRanker(MODEL, key(), base_url=f"{url}/v1/rerank"))


def vllm(url: str) -> list[Hit]:
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    return ran(VLLMRanker(model=MODEL, api_key=key(), api_base_url=f"{url}/v1", top_k=3))


def tei(url: str) -> list[Hit]:
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    return ran(HuggingFaceTEIRanker(url=url, top_k=3))


def mixedbread(url: str) -> list[Hit]:
    from mixedbread_ai_haystack.rerankers import MixedbreadReranker

    return ran(MixedbreadReranker(model=MODEL, api_key=key(), base_url=url))


CLIENTS: dict[str, Client] = {
    "cohere-haystack": cohere,
    "jina-haystack": jina,
    "vllm-haystack": vllm,
    "huggingface-api-haystack": tei,
    "mixedbread-ai-haystack": mixedbread,
}


@table(CLIENTS)
def test_haystack_ranks(client: Client, url: str) -> None:
    check(client(url))


def test_haystack_ranks_with_nvidia(url: str) -> None:
    from haystack_integrations.components.rankers.nvidia import NvidiaRanker

    check(ran(NvidiaRanker(MODEL, api_url=f"{url}/v1", api_key=key())), logits=True)
