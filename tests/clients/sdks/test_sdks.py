"""The servers' own SDKs, and small clients of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from ranking import DOCUMENTS, KEY, MODEL, QUERY, Client, Hit, by_text, check, table

ASKED: dict[str, Any] = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS}


def scored(results: Sequence[Any], score: str = "relevance_score") -> list[Hit]:
    return [Hit(result.index, getattr(result, score)) for result in results]


def cohere_v2(url: str) -> list[Hit]:
    import cohere

    return scored(cohere.ClientV2(KEY, base_url=url).rerank(**ASKED, top_n=3).results)


def cohere_v2_async(url: str) -> list[Hit]:
    import cohere

    async def ask() -> Any:
        async with cohere.AsyncClientV2(KEY, base_url=url) as client:
            return await client.rerank(**ASKED, max_tokens_per_doc=4096)

    return scored(asyncio.run(ask()).results)


def cohere_v1(url: str) -> list[Hit]:
    import cohere

    client = cohere.Client(KEY, base_url=url)
    ask = getattr(client, "v1", client).rerank
    return scored(ask(**ASKED, top_n=3, return_documents=True, rank_fields=["text"]).results)


def cohere_v1_async(url: str) -> list[Hit]:
    import cohere

    async def ask() -> Any:
        async with cohere.AsyncClient(KEY, base_url=url) as client:
            return await getattr(client, "v1", client).rerank(**ASKED)

    return scored(asyncio.run(ask()).results)


def voyage(url: str) -> list[Hit]:
    import voyageai

    client = voyageai.Client(KEY, base_url=f"{url}/v1")
    return scored(client.rerank(QUERY, DOCUMENTS, MODEL, top_k=3).results)


def voyage_async(url: str) -> list[Hit]:
    import voyageai

    client = voyageai.AsyncClient(KEY, base_url=f"{url}/v1")
    return scored(asyncio.run(client.rerank(QUERY, DOCUMENTS, MODEL)).results)


def together(url: str) -> list[Hit]:
    from together import Together

    return scored(Together(api_key=KEY, base_url=url).rerank.create(**ASKED, return_documents=True).results)


def together_async(url: str) -> list[Hit]:
    from together import AsyncTogether

    client = AsyncTogether(api_key=KEY, base_url=url)
    return scored(asyncio.run(client.rerank.create(**ASKED, top_n=2)).results)


def mixedbread(url: str) -> list[Hit]:
    from mixedbread import Mixedbread

    answer = Mixedbread(api_key=KEY, base_url=url).rerank(model=MODEL, query=QUERY, input=DOCUMENTS, top_k=3)
    return scored(answer.data, "score")


def zeroentropy(url: str) -> list[Hit]:
    from zeroentropy import ZeroEntropy

    return scored(ZeroEntropy(api_key=KEY, base_url=f"{url}/v1").models.rerank(**ASKED, top_n=3).results)


def dashscope(url: str) -> list[Hit]:
    import dashscope as sdk

    sdk.base_http_api_url = f"{url}/api/v1"
    return scored(sdk.TextReRank.call(**ASKED, api_key=KEY, top_n=3, return_documents=True).output.results)


def infinity(url: str) -> list[Hit]:
    from infinity_client import Client
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput

    answer = rerank.sync(client=Client(base_url=url), body=RerankInput(QUERY, DOCUMENTS, model=MODEL, top_n=3))
    return scored(answer.results)


def infinity_in_langchain(url: str) -> list[Hit]:
    """Here because its SDK wants an older httpx than LangChain's other clients."""
    from infinity_client import Client
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank
    from langchain_core.documents import Document

    compressor = InfinityRerank(client=Client(base_url=url), model=MODEL)
    found = compressor.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    return by_text([(document.page_content, document.metadata["relevance_score"]) for document in found])


def tei(url: str) -> list[Hit]:
    from tei_client import HttpClient

    return scored(HttpClient(url).rerank(QUERY, DOCUMENTS).ranks, "score")


def xinference(url: str) -> list[Hit]:
    from xinference_client.client.restful.restful_client import RESTfulRerankModelHandle

    answer = RESTfulRerankModelHandle(MODEL, url, {}).rerank(DOCUMENTS, QUERY, top_n=3, return_documents=True)
    return [Hit(result["index"], result["relevance_score"]) for result in answer["results"]]


def answerdotai(provider: str, path: str) -> Client:
    def rank(url: str) -> list[Hit]:
        from rerankers.models.api_rankers import APIRanker

        ranked = APIRanker(MODEL, KEY, provider, url=url + path).rank(QUERY, DOCUMENTS, doc_ids=[0, 1, 2, 3])
        return [Hit(result.document.doc_id, result.score) for result in ranked.results]

    return rank


CLIENTS: dict[str, Client] = {
    "cohere ClientV2": cohere_v2,
    "cohere AsyncClientV2": cohere_v2_async,
    "cohere Client": cohere_v1,
    "cohere AsyncClient": cohere_v1_async,
    "voyageai Client": voyage,
    "voyageai AsyncClient": voyage_async,
    "together": together,
    "together async": together_async,
    "mixedbread": mixedbread,
    "zeroentropy": zeroentropy,
    "dashscope": dashscope,
    "infinity-client": infinity,
    "langchain-community InfinityRerank": infinity_in_langchain,
    "tei-client": tei,
    "xinference-client": xinference,
    "rerankers cohere": answerdotai("cohere", "/v1/rerank"),
    "rerankers jina": answerdotai("jina", "/v1/rerank"),
    "rerankers voyage": answerdotai("voyage", "/v1/rerank"),
    "rerankers TEI": answerdotai("text-embeddings-inference", "/rerank"),
}


@table(CLIENTS)
def test_sdk_ranks(client: Client, url: str) -> None:
    check(client(url))


@pytest.mark.parametrize("documents", [[], [""]])
def test_cohere_sdk_raises_its_own_error(url: str, documents: list[str]) -> None:
    import cohere

    client = cohere.ClientV2(KEY, base_url=url)
    with pytest.raises(cohere.errors.BadRequestError, match=r"query: is empty|documents"):
        client.rerank(model=MODEL, query="" if documents else QUERY, documents=documents)
