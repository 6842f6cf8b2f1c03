"""The tokenizer deployment: a CPU shell around PairEncoder. It holds no weights."""

import asyncio
import time
from collections.abc import Sequence

from reranker.checkpoints.files import load_encoder
from reranker.encoding import PairEncoder
from reranker.errors import InvalidRequest, Overloaded
from reranker.pairs import EncodedShard
from reranker.reading import Reading, read_spans
from reranker.settings import CheckpointSettings
from reranker.types import Passage, Truncation

# A long text is tokenized whole only if its first tokens need it, as those of a word without end do. That takes 1 to
# 3 s and 200 MB per million characters: up to the first length like any other work, up to the second one at a time.
_MAX_WHOLE_CHARS = 2**17
_MAX_WHOLE_CHARS_ALONE = 2**20
_MAX_WAITING = 4  # whole texts; more are refused
_RETRY_AFTER_S = 5.0


class Tokenizer:
    def __init__(self, checkpoint: CheckpointSettings, encoder: PairEncoder | None = None) -> None:
        """encoder: by default that of the checkpoint."""
        self._encoder = encoder or load_encoder(checkpoint)
        self._whole_text = asyncio.Lock()
        self._waiting = 0

    async def encode(self, query: str, passages: Sequence[Passage], truncation: Truncation) -> EncodedShard:
        """Raises UnscorableDocument or InvalidField for a text that must be tokenized whole and is too long."""
        started = time.monotonic()
        try:
            return await encode_shard(self._encoder, query, passages, truncation)
        except InvalidRequest:
            if self._waiting >= _MAX_WAITING:
                raise Overloaded(_RETRY_AFTER_S) from None
        self._waiting += 1
        try:
            async with self._whole_text:
                shard = await encode_shard(self._encoder, query, passages, truncation, _MAX_WHOLE_CHARS_ALONE)
                return shard._replace(encode_s=time.monotonic() - started)
        finally:
            self._waiting -= 1

    async def read(self, query: str, passages: Sequence[Passage], truncation: Truncation) -> Reading:
        """What the model reads of each text. Raises as `encode` does, also for texts that may wait there."""
        return await asyncio.to_thread(read_spans, self._encoder, query, passages, truncation, _MAX_WHOLE_CHARS)


async def encode_shard(
    encoder: PairEncoder,
    query: str,
    passages: Sequence[Passage],
    truncation: Truncation,
    max_whole_chars: int = _MAX_WHOLE_CHARS,
) -> EncodedShard:
    """Encode one shard. Runs in a thread: tokenizing releases the GIL, so health checks are still answered."""
    started = time.monotonic()
    pairs = await asyncio.to_thread(encoder.encode, query, passages, truncation, max_whole_chars)
    return EncodedShard(pairs, time.monotonic() - started)
