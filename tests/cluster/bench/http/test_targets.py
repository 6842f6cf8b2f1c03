"""Servers to measure: the JSON of each kind, and errors for missing or wrong servers."""

import json

import pytest

from cluster.bench.http.targets import OURS, PEERS, connect, dialect_of_peer, error_text
from cluster.bench.http.texts import Texts
from cluster.local.host import free_port
from deployments.http.dialects import choose
from reranker.errors import InvalidField, Unavailable
from tests.cluster.bench.http.endpoint import Endpoint


@pytest.mark.parametrize("dialect", [OURS, *PEERS.values()], ids=lambda dialect: dialect.name)
def test_our_server_parses_every_dialect(dialect: object, texts: Texts) -> None:
    assert isinstance(dialect, type(OURS))
    block = texts.block(10)
    body = json.loads(dialect.body('a "query"', block.json, "org/name"))
    request = choose(dialect.path, body).parse(body).request()
    assert request.query == 'a "query"'
    assert [candidate.passage.text for candidate in request.candidates] == list(block.documents)


def test_scores_are_counted_and_errors_read_in_every_dialect() -> None:
    assert OURS.scored_documents({"results": [1, 2]}) == 2
    assert PEERS["tei"].scored_documents([1, 2, 3]) == 3
    for dialect, content in ((OURS, [1]), (OURS, {"results": None}), (PEERS["tei"], {"results": [1]})):
        assert dialect.scored_documents(content) == 0
    shapes = [
        {"error": "no", "error_type": "x"},
        {"error": {"message": "no"}},
        {"message": "no"},
        {"detail": "no"},
        "no",
    ]
    assert {error_text(shape) for shape in shapes} == {"no"}
    with pytest.raises(InvalidField, match="use one of tei, vllm, infinity"):
        dialect_of_peer("cohere")


def test_missing_or_wrong_server_is_refused_with_its_name() -> None:
    free = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(Unavailable, match=f"vllm: no answer at {free} .ConnectError.: start it"):
        connect("vllm", free, PEERS["vllm"])
    with Endpoint().serving() as endpoint:
        assert connect("reranker", endpoint.url + "/", OURS).url == endpoint.url
        with pytest.raises(Unavailable, match="/rerank answered 503: the model failed"):
            connect("tei", endpoint.url, PEERS["tei"])
        with pytest.raises(Unavailable, match="does vllm run there"):
            connect("vllm", endpoint.url, PEERS["vllm"])
