"""A service for the HTTP routes that needs no model: a document's text is its logit."""

import numpy as np

from deployments.metrics import Metrics
from reranker.documents import check_length, check_request
from reranker.errors import RerankerError
from reranker.pairs import CandidateScores
from reranker.ranking import ranked
from reranker.reading import PassageReading, Reading, Span
from reranker.types import ModelDescription, RerankOutcome, RerankRequest

DESCRIPTION = ModelDescription("fake", None, "dear", 1, 228, False, "float32", "cpu", "verified: by being a fake")


class FakeService:
    """Meets RerankService. A number up to a million is its text's logit; others score -1. `failure` is raised."""

    model_name = "fake"

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.requests: list[RerankRequest] = []
        self.metrics = Metrics()

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

    async def read(self, request: RerankRequest) -> Reading:
        """Half of every text is read."""
        self.requests.append(request)
        if self.failure:
            raise self.failure
        passages = [candidate.passage for candidate in request.candidates]
        halves = [PassageReading(Span(0, len(p.title)), Span(0, len(p.text) // 2), True, 7) for p in passages]
        return Reading(Span(0, len(request.query)), tuple(halves))

    async def observe(self) -> Metrics:
        return self.metrics

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
