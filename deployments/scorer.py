"""The scorer deployment: one accelerator, one engine, one queue."""

import ray

from deployments.scoring_loop import ScoringLoop
from reranker.device_thread import device_thread
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import CandidateScores, EncodedPairs, ModelDescription


class Scorer:
    """Construction loads the weights and replays the golden scores; it raises rather than serve a wrong model."""

    def __init__(self, checkpoint: CheckpointSettings, engine: EngineSettings) -> None:
        device = device_thread()
        threads = engine.threads or _own_cores()
        loaded = device.submit(load_verified, checkpoint, engine.model_copy(update={"threads": threads})).result()
        self._description = loaded.description
        self._loop = ScoringLoop(loaded.engine.score, loaded.engine.max_batch_tokens, device)

    async def score(self, pairs: EncodedPairs, owner: str) -> CandidateScores:
        """One shard's scores. owner: the request's id; the queue is fair between owners."""
        return pairs.candidate_scores(await self._loop.score(owner, pairs))

    async def describe(self) -> ModelDescription:
        return self._description

    def check_health(self) -> None:
        self._loop.check()


def _own_cores() -> int | None:
    """The whole cores Ray gave this replica; None for a fraction of one, which then means all of the machine."""
    return int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0)) or None
