"""LangChain's document compressors."""

from __future__ import annotations

import os
from typing import Any

from ranking import DOCUMENTS, KEY, MODEL, QUERY, Client, Hit, by_text, check, table


def compressed(compressor: Any) -> list[Hit]:
    from langchain_core.documents import Document

    found = compressor.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    return by_text([(document.page_content, document.metadata["relevance_score"]) for document in found])


def cohere(url: str) -> list[Hit]:
    from langchain_cohere import CohereRerank

    return compressed(CohereRerank(model=MODEL, cohere_api_key=KEY, base_url=url))


def voyage(url: str) -> list[Hit]:
    from langchain_voyageai import VoyageAIRerank

    return compressed(VoyageAIRerank(model=MODEL, api_key=KEY, base_url=f"{url}/v1", top_k=3))


def jina(url: str) -> list[Hit]:
    from langchain_community.document_compressors import jina_rerank

    jina_rerank.JINA_API_URL = f"{url}/v1/rerank"  # its base URL is a constant
    return compressed(jina_rerank.JinaRerank(model=MODEL, jina_api_key=KEY))


def dashscope(url: str) -> list[Hit]:
    import dashscope as sdk
    from langchain_community.document_compressors.dashscope_rerank import DashScopeRerank

    sdk.base_http_api_url = f"{url}/api/v1"
    os.environ["DASHSCOPE_API_KEY"] = KEY
    return compressed(DashScopeRerank())


CLIENTS: dict[str, Client] = {
    "langchain-cohere": cohere,
    "langchain-voyageai": voyage,
    "langchain-community JinaRerank": jina,
    "langchain-community DashScopeRerank": dashscope,
}


@table(CLIENTS)
def test_langchain_ranks(client: Client, url: str) -> None:
    check(client(url))


def test_langchain_ranks_with_nvidia(url: str) -> None:
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    check(compressed(NVIDIARerank(model=MODEL, base_url=f"{url}/v1", api_key=KEY)), logits=True)
