"""litellm's rerank, one row a provider."""

from __future__ import annotations

from typing import Any

from ranking import DOCUMENTS, KEY, MODEL, QUERY, Client, Hit, check, table


def provider(name: str, path: str = "", **more: Any) -> Client:
    def rank(url: str) -> list[Hit]:
        import litellm

        answer = litellm.rerank(
            model=f"{name}/{MODEL}",
            query=QUERY,
            documents=DOCUMENTS,
            top_n=3,
            api_key=KEY,
            api_base=url + path,
            **more,
        )
        return [Hit(result["index"], result["relevance_score"]) for result in answer.results]

    return rank


CLIENTS: dict[str, Client] = {
    "cohere": provider("cohere"),
    "cohere, /v1/rerank": provider("cohere", "/v1/rerank"),
    "jina_ai": provider("jina_ai"),
    "voyage": provider("voyage", "/v1"),
    # It reads documents as strings, which is Infinity's way to give them back, at a path that is vLLM's here.
    "infinity": provider("infinity", return_documents=False),
    "hosted_vllm": provider("hosted_vllm"),
    "huggingface": provider("huggingface"),
    "azure_ai": provider("azure_ai"),
}


@table(CLIENTS)
def test_litellm_ranks(client: Client, url: str) -> None:
    check(client(url))


def test_litellm_ranks_with_nvidia_nim(url: str) -> None:
    check(provider("nvidia_nim")(url), logits=True)
