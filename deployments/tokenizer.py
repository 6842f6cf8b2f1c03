"""The tokenizer deployment: a CPU shell around PairEncoder. It holds no weights."""

import asyncio
import time
from collections.abc import Sequence

from reranker.checkpoints.files import load_encoder
from reranker.encoding import PairEncoder
from reranker.pairs import EncodedShard
from reranker.settings import CheckpointSettings
from reranker.types import Passage, Truncation


class Tokenizer:
    def __init__(self, checkpoint: CheckpointSettings) -> None:
        self._encoder = load_encoder(checkpoint)

    async def encode(self, query: str, passages: Sequence[Passage], truncation: Truncation) -> EncodedShard:
        return await encode_shard(self._encoder, query, passages, truncation)


async def encode_shard(
    encoder: PairEncoder, query: str, passages: Sequence[Passage], truncation: Truncation
) -> EncodedShard:
    """Encode one shard. Runs in a thread: tokenizing releases the GIL, so health checks are still answered."""
    started = time.monotonic()
    pairs = await asyncio.to_thread(encoder.encode, query, passages, truncation)
    return EncodedShard(pairs, time.monotonic() - started)
