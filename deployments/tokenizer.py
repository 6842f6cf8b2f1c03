"""The tokenizer deployment: a CPU shell around PairEncoder. It holds no weights."""

import asyncio
from collections.abc import Sequence

from reranker.checkpoints.files import load_encoder
from reranker.pairs import EncodedPairs
from reranker.settings import CheckpointSettings
from reranker.types import Passage, Truncation


class Tokenizer:
    def __init__(self, checkpoint: CheckpointSettings) -> None:
        self._encoder = load_encoder(checkpoint)

    async def encode(self, query: str, passages: Sequence[Passage], truncation: Truncation) -> EncodedPairs:
        """Encode one shard. Runs in a thread: tokenizing releases the GIL, so health checks are still answered."""
        return await asyncio.to_thread(self._encoder.encode, query, passages, truncation)
