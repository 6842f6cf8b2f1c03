"""A request for what is read goes to the tokenizer alone, within limits of its own."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.handle import DeploymentHandle

from deployments.reading import MAX_CHARS, MAX_DOCUMENTS, read
from deployments.tokenizer import Tokenizer
from reranker.errors import DeadlineExceeded, InvalidField, InvalidRequest, TooManyCandidates, Unavailable
from reranker.reading import Reading
from reranker.settings import CheckpointSettings
from reranker.types import Candidate, PairOptions, Passage, RerankRequest
from tests.deployments.handles import FakeHandle, FakeReplica, Hang


class FakeReader(FakeReplica):
    async def read(self, query: str, passages: Sequence[Passage], options: PairOptions) -> Reading:
        await self.meet_fault()
        raise AssertionError("only faults are asked for")


def handle(replica: object) -> DeploymentHandle[Any]:
    return cast(DeploymentHandle[Any], FakeHandle("Tokenizer", replica))


def request(*texts: str) -> RerankRequest:
    return RerankRequest("when is high tide", tuple(Candidate(Passage(text)) for text in texts))


async def test_tokenizer_says_what_is_read() -> None:
    texts = ["at noon", "the tide " * 400]
    short, long = (await read(handle(Tokenizer(CheckpointSettings())), request(*texts), 10_000)).passages
    assert (short.truncated, short.text.end) == (False, len(texts[0]))
    assert (long.truncated, texts[1][: long.text.end].endswith(("the", "tide"))) == (True, True)


@pytest.mark.parametrize(
    ("texts", "error"),
    [(["a"] * (MAX_DOCUMENTS + 1), TooManyCandidates), (["a" * MAX_CHARS], InvalidField)],
)
async def test_request_beyond_its_limits_is_refused(texts: list[str], error: type[InvalidRequest]) -> None:
    tokenizer = FakeHandle("Tokenizer", FakeReader())
    with pytest.raises(error):
        await read(cast(DeploymentHandle[Any], tokenizer), request(*texts), 1_000)
    assert tokenizer.calls == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Hang(), DeadlineExceeded), (ActorDiedError(), Unavailable), (ValueError("a bug"), Unavailable)],
)
async def test_fault_of_the_tokenizer_becomes_an_error_of_ours(fault: Exception, error: type[Exception]) -> None:
    tokenizer = FakeHandle("Tokenizer", FakeReader(fault))
    with pytest.raises(error):
        await read(cast(DeploymentHandle[Any], tokenizer), request("a"), 20)
    assert tokenizer.calls[0].response.cancelled() == isinstance(fault, Hang)
