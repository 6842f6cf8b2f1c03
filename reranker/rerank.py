"""The Python API: text in, ranking out, in one process.

The cluster does the same with the same parts, only spread over replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from reranker.deduplicate import deduplicate
from reranker.documents import (
    Document,
    Pair,
    check_top_n,
    check_truncation,
    parse_pairs,
    parse_queries,
    parse_query,
)
from reranker.errors import NonFiniteLogit, PairTooLong
from reranker.fidelity import load_verified
from reranker.pairs import CandidateScores, EncodedPairs, FloatArray
from reranker.ranking import check_finite, check_not_cut, ranked, sigmoid
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import ModelDescription, Passage, ScoredCandidate, Truncation


class Reranker:
    """A loaded cross-encoder.

    model: "embedded" (ships with the package, needs no network), a checkpoint or LoRA adapter directory, or a hub id.
    recipe: how pairs are written and scores are read, the name of a known recipe or a YAML file; by default as the
    checkpoint or its authors say. instruction: of calls that bring none, for models that take one.
    Raises CheckpointError if it cannot be loaded, FidelityError if its golden scores are not reproduced, and
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
        pooling: str = "auto",
        recipe: str = "auto",
        instruction: str | None = None,
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
                "pooling": pooling,
                "recipe": recipe,
                "instruction": instruction,
            }
        )
        loaded = load_verified(settings, engine or EngineSettings())
        self._engine, self._encoder = loaded.engine, loaded.encoder
        self.description: ModelDescription = loaded.description

    @overload
    def rank(
        self,
        query: str,
        documents: Sequence[Document],
        top_n: int | None = None,
        *,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> list[ScoredCandidate]: ...

    @overload
    def rank(
        self,
        query: list[str] | tuple[str, ...],
        documents: Sequence[Sequence[Document]],
        top_n: int | None = None,
        *,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> list[list[ScoredCandidate]]: ...

    def rank(
        self,
        query: str | list[str] | tuple[str, ...],
        documents: Sequence[Document] | Sequence[Sequence[Document]],
        top_n: int | None = None,
        *,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> list[ScoredCandidate] | list[list[ScoredCandidate]]:
        """Rank documents for one query, or for each of several: the best `top_n` (None means all), best first.

        query: a string, or a list of strings. documents: for one query a list of strings, or of mappings with `text`
        and optionally `id` and `title`; for several queries a list of such lists, one per query. Returns one ranking,
        or a list of rankings in the order of the queries; pairs of all queries share batches. Ties keep input order.
        instruction: what to look for, for models that take one; None for the default.

        Raises InvalidField for a wrong argument, PairTooLong for a pair that would be cut under truncation "error",
        and NonFiniteLogit if the model returns NaN or infinity.
        """
        check_top_n(top_n)
        check_truncation(truncation)
        one = isinstance(query, str)
        groups = [parse_query(query, documents)] if one else parse_queries(query, documents)
        pairs = [(text, item.passage) for text, items in groups for item in items]
        scores = self._scores(pairs, truncation, instruction)
        rankings: list[list[ScoredCandidate]] = []
        start = 0
        for number, (_, candidates) in enumerate(groups):
            part = scores.take(np.arange(start, start + len(candidates), dtype=np.int32))
            start += len(candidates)
            try:
                check_not_cut(part, truncation)
                rankings.append(list(ranked(candidates, part, top_n)))
            except (PairTooLong, NonFiniteLogit) as error:
                if not one:
                    error.add_note(f"in the ranking of query {number}")
                raise
        return rankings[0] if one else rankings

    def score(
        self,
        query: str,
        documents: Sequence[Document],
        *,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> FloatArray:
        """Logits in input order, float32 (documents,). Raises as `rank` does."""
        check_truncation(truncation)
        query, candidates = parse_query(query, documents)
        return self._logits([(query, candidate.passage) for candidate in candidates], truncation, instruction)

    @overload
    def predict(
        self,
        pairs: tuple[str, Document] | list[str],
        *,
        raw_scores: bool = False,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> np.float32: ...

    @overload
    def predict(
        self,
        pairs: Sequence[Pair],
        *,
        raw_scores: bool = False,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> FloatArray: ...

    def predict(
        self,
        pairs: Pair | Sequence[Pair],
        *,
        raw_scores: bool = False,
        truncation: Truncation = "model",
        instruction: str | None = None,
    ) -> FloatArray | np.float32:
        """Score (query, passage) pairs, as `CrossEncoder.predict` of sentence-transformers does.

        pairs: a list of pairs, which gives float32 (pairs,) in input order, or one pair, which gives one float32. A
        passage is a string, or a mapping with `text` and optionally `title`. raw_scores: logits instead of
        sigmoid(logit). CrossEncoder too applies the sigmoid by default to a model with one logit, unless the
        checkpoint's config names another activation function: some MS MARCO models name Identity, and CrossEncoder
        then returns what `raw_scores` gives.

        The float32 sigmoid is exactly 1.0 from a logit of 17 up: to sort, use raw scores or `rank`. Raises as `rank`
        does; an error calls a pair `document` and its position.
        """
        check_truncation(truncation)
        parsed, is_one = parse_pairs(pairs)
        logits = self._logits(parsed, truncation, instruction)
        scores = logits if raw_scores else sigmoid(logits).astype(np.float32)
        return scores[0] if is_one else scores

    def _logits(
        self, pairs: Sequence[tuple[str, Passage]], truncation: Truncation, instruction: str | None
    ) -> FloatArray:
        """Logits in the order of the pairs. Raises PairTooLong and NonFiniteLogit with the pair's position."""
        scores = self._scores(pairs, truncation, instruction)
        check_not_cut(scores, truncation)
        check_finite(scores.logits)
        return scores.logits

    def _scores(
        self, pairs: Sequence[tuple[str, Passage]], truncation: Truncation, instruction: str | None
    ) -> CandidateScores:
        """Scores in the order of the pairs, unchecked. Equal pairs are scored once, each query is tokenized once."""
        positions_of: dict[str, list[int]] = {}
        for position, (query, _) in enumerate(pairs):
            positions_of.setdefault(query, []).append(position)
        encoded: list[EncodedPairs] = []
        places = np.empty(len(pairs), dtype=np.int32)  # pair -> its position in the batch
        count = 0
        for query, positions in positions_of.items():
            passages, places_of_query = deduplicate([pairs[position][1] for position in positions])
            encoded.append(self._encoder.encode(query, passages, truncation, instruction=instruction))
            places[positions] = places_of_query + count
            count += len(passages)
        if not encoded:
            return CandidateScores.unscored(0)
        batch = EncodedPairs.concat(encoded)
        return batch.candidate_scores(self._engine.score(batch)).take(places)
