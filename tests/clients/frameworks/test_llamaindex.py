"""LlamaIndex's node postprocessors."""

from __future__ import annotations

import os
from typing import Any

from ranking import DOCUMENTS, KEY, MODEL, QUERY, Client, Hit, by_text, check, table


def processed(postprocessor: Any) -> list[Hit]:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    found = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    return by_text([(node.node.get_content(), node.score) for node in found])


def cohere(url: str) -> list[Hit]:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return processed(CohereRerank(model=MODEL, api_key=KEY, base_url=url, top_n=3))


def jina(url: str) -> list[Hit]:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return processed(JinaRerank(model=MODEL, api_key=KEY, base_url=f"{url}/v1", top_n=3))


def voyage(url: str) -> list[Hit]:
    from llama_index.postprocessor.voyageai_rerank import VoyageAIRerank

    postprocessor = VoyageAIRerank(model=MODEL, api_key=KEY, top_n=3, truncation=True)
    postprocessor._client._params["base_url"] = f"{url}/v1"  # it takes none, its client does
    return processed(postprocessor)


def tei(url: str) -> list[Hit]:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    return processed(TextEmbeddingInference(base_url=url, top_n=3))


def dashscope(url: str) -> list[Hit]:
    import dashscope as sdk
    from llama_index.postprocessor.dashscope_rerank import DashScopeRerank

    sdk.base_http_api_url = f"{url}/api/v1"
    return processed(DashScopeRerank(model=MODEL, api_key=KEY, top_n=3))


def siliconflow(url: str) -> list[Hit]:
    from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

    return processed(SiliconFlowRerank(model=MODEL, base_url=f"{url}/v1/rerank", api_key=KEY, top_n=3))


def xinference(url: str) -> list[Hit]:
    from llama_index.postprocessor.xinference_rerank import XinferenceRerank

    return processed(XinferenceRerank(model=MODEL, base_url=url, top_n=3))


def mixedbread(url: str) -> list[Hit]:
    from llama_index.postprocessor.mixedbreadai_rerank import MixedbreadAIRerank

    os.environ["MIXEDBREAD_BASE_URL"] = url
    return processed(MixedbreadAIRerank(model=MODEL, api_key=KEY, top_n=3))


CLIENTS: dict[str, Client] = {
    "cohere": cohere,
    "jinaai": jina,
    "voyageai": voyage,
    "TEI": tei,
    "dashscope": dashscope,
    "siliconflow": siliconflow,
    "xinference": xinference,
    "mixedbreadai": mixedbread,
}


@table(CLIENTS)
def test_llamaindex_ranks(client: Client, url: str) -> None:
    check(client(url))


def test_llamaindex_ranks_with_nvidia(url: str) -> None:
    from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

    check(processed(NVIDIARerank(model=MODEL, base_url=f"{url}/v1", api_key=KEY, top_n=3)), logits=True)
