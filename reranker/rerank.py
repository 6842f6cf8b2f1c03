"""Text in, ranking out, in one process: the library's front door.

The cluster does the same with the same parts, only spread over replicas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reranker.deduplicate import deduplicate
from reranker.errors import InvalidField
from reranker.fidelity import load_verified
from reranker.pairs import CandidateScores, FloatArray
from reranker.ranking import best_first, check_not_cut, ranked
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import Candidate, ModelDescription, Passage, ScoredCandidate, Truncation

Document = str | Mapping[str, str] | Candidate


class Reranker:
    """A cross-encoder, ready to score.

    model: "embedded" (ships with the package, needs no network), a checkpoint or LoRA adapter directory, or a hub id.
    Raises CheckpointError when it cannot be loaded, FidelityError when its golden scores are not reproduced, and
    pydantic's ValidationError for an argument out of bounds.
    """

    def __init__(
        self,
        model: str = "embedded",
        template: str = "auto",
        max_pair_tokens: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        *,
        revision: str | None = None,
        engine: EngineSettings | None = None,
    ) -> None:
        settings = CheckpointSettings.model_validate(
            {
                "model": model,
                "template": template,
                "max_pair_tokens": max_pair_tokens,
                "dtype": dtype,
                "device": device,
                "revision": revision,
            }
        )
        loaded = load_verified(settings, engine or EngineSettings())
        self._engine, self._encoder = loaded.engine, loaded.encoder
        self.description: ModelDescription = loaded.description

    def rank(
        self,
        query: str,
        documents: Sequence[Document],
        top_n: int | None = None,
        *,
        truncation: Truncation = "model",
    ) -> list[ScoredCandidate]:
        """The best `top_n` documents (all where None), best first; ties keep input order.

        documents: strings, or mappings with `text` and optionally `id` and `title`. Raises InvalidField for a bad
        argument and NonFiniteLogit when the model gives no number.
        """
        if top_n is not None and top_n < 1:
            raise InvalidField("top_n", f"got {top_n}, must be at least 1, or None for all")
        candidates = tuple(candidate_of(index, document) for index, document in enumerate(documents))
        return list(ranked(candidates, self._scores(query, candidates, truncation), top_n))

    def score(self, query: str, documents: Sequence[Document], *, truncation: Truncation = "model") -> FloatArray:
        """Logits in input order, float32 (documents,). Raises as `rank` does."""
        candidates = tuple(candidate_of(index, document) for index, document in enumerate(documents))
        logits = self._scores(query, candidates, truncation).logits
        best_first(logits)
        return logits

    def _scores(self, query: str, candidates: tuple[Candidate, ...], truncation: Truncation) -> CandidateScores:
        if not isinstance(query, str) or not query.strip():
            raise InvalidField("query", "is empty: a query needs at least one character that is not a space")
        passages, places = deduplicate([candidate.passage for candidate in candidates])
        pairs = self._encoder.encode(query, passages, truncation)
        scores = pairs.candidate_scores(self._engine.score(pairs)).take(places)
        check_not_cut(scores, truncation)
        return scores


def candidate_of(index: int, document: Document) -> Candidate:
    """A document as users write it -> Candidate. Raises InvalidField naming the document."""
    if isinstance(document, Candidate):
        return document
    if isinstance(document, str):
        return Candidate(Passage(document))
    if not isinstance(document, Mapping):
        raise InvalidField(f"documents.{index}", "must be a string or an object with `text`")
    unknown = set(document) - {"id", "title", "text"}
    if unknown:
        raise InvalidField(f"documents.{index}", f"has unknown fields {sorted(unknown)}: use id, title and text")
    for field in ("id", "title", "text"):
        value = document.get(field, "")
        if not isinstance(value, str):
            raise InvalidField(f"documents.{index}.{field}", "must be a string")
    if "text" not in document and "title" not in document:
        raise InvalidField(f"documents.{index}", "has neither text nor title")
    return Candidate(Passage(document.get("text", ""), document.get("title", "")), document.get("id"))
