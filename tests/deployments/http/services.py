"""A service for the HTTP routes that needs no model: a document's text is its logit."""

import numpy as np

from reranker.documents import check_length, check_request
from reranker.errors import RerankerError
from reranker.pairs import CandidateScores
from reranker.ranking import ranked
from reranker.types import ModelDescription, RerankOutcome, RerankRequest

DESCRIPTION = ModelDescription("fake", None, "dear", 1, 228, False, "float32", "cpu", "verified: by being a fake")


class FakeService:
    """Meets RerankService. The logit of a text that is a number is that number, up to a million; of others -1.

    `failure` is raised.
    """

    model_name = "fake"

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.requests: list[RerankRequest] = []

    async def rerank(self, request: RerankRequest) -> RerankOutcome:
        self.requests.append(request)
        if self.failure:
            raise self.failure
        check_request(request)
        check_length(request, DESCRIPTION.max_pair_tokens)
        logits = [_number(candidate.passage.text) for candidate in request.candidates]
        count = len(logits)
        scores = CandidateScores(
            np.array(logits, dtype=np.float32), np.zeros(count, dtype=bool), np.full(count, 7, dtype=np.int32)
        )
        ranking = ranked(request.candidates, scores, request.top_n)
        return RerankOutcome("request-1", self.model_name, ranking, 7 * count)

    async def describe(self) -> ModelDescription:
        if isinstance(self.failure, RerankerError):
            raise self.failure
        return DESCRIPTION


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return -1.0
    return number if abs(number) < 1e6 else -1.0
