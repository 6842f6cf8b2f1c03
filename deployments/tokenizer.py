"""The tokenizer deployment: a CPU shell around Encoder. It holds no weights."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from deployments.failures import log_failure
from deployments.settings import TracingSettings
from deployments.tracing import open_spans
from reranker.checkpoints.encoders import load_encoder
from reranker.encoder import Encoder
from reranker.errors import DocumentError, InvalidRequest, Overloaded, RerankerError, Unavailable
from reranker.pairs import EncodedPairs, EncodedShard
from reranker.reading import Encode, Reading, read_spans
from reranker.settings import CheckpointSettings
from reranker.types import PairOptions, Passage, Query

log = logging.getLogger("ray.serve")

# A long text is tokenized whole only if its first tokens need it, as those of a word without end do. That takes 1 to
# 3 s and 200 MB per million characters: up to the first length like any other work, up to the second one at a time.
_MAX_WHOLE_CHARS = 2**17
_MAX_WHOLE_CHARS_ALONE = 2**20
_MAX_WAITING = 4  # whole texts; more are refused
_RETRY_AFTER_S = 5.0


class Tokenizer:
    def __init__(
        self,
        checkpoint: CheckpointSettings,
        encoder: Encoder | None = None,
        tracing: TracingSettings | None = None,
    ) -> None:
        """encoder: by default that of the checkpoint. tracing: off by default."""
        self._encoder = encoder or load_encoder(checkpoint)
        self._spans = open_spans(tracing, "tokenizer")
        self._whole_text = asyncio.Lock()
        self._waiting = 0

    async def encode(
        self, query: Query, passages: Sequence[Passage], options: PairOptions, traceparent: str = ""
    ) -> EncodedShard:
        """Raises UnscorableDocument or InvalidField for a text that must be tokenized whole and is too long.

        traceparent: see RequestContext.
        """
        if self._spans is None or not traceparent:
            return await self._encode(query, passages, options)
        with self._spans.encoding(traceparent, len(passages)):
            return await self._encode(query, passages, options)

    async def _encode(self, query: Query, passages: Sequence[Passage], options: PairOptions) -> EncodedShard:
        started = time.monotonic()
        try:
            return await encode_shard(self._encoder, query, passages, options)
        except InvalidRequest:
            if self._waiting >= _MAX_WAITING:
                raise Overloaded(_RETRY_AFTER_S) from None
        self._waiting += 1
        try:
            async with self._whole_text:
                shard = await encode_shard(self._encoder, query, passages, options, _MAX_WHOLE_CHARS_ALONE)
                return shard._replace(encode_s=time.monotonic() - started)
        finally:
            self._waiting -= 1

    async def read(self, query: str, passages: Sequence[Passage], options: PairOptions) -> Reading:
        """What the model reads of each text. Raises as `encode` does, also for texts that may wait there."""
        encode = _encode(self._encoder, options, _MAX_WHOLE_CHARS)
        return await asyncio.to_thread(read_spans, encode, query, passages)

    def __del__(self) -> None:  # called by Serve before it ends the replica
        if spans := getattr(self, "_spans", None):
            spans.close()


async def encode_shard(
    encoder: Encoder,
    query: Query,
    passages: Sequence[Passage],
    options: PairOptions,
    max_whole_chars: int = _MAX_WHOLE_CHARS,
) -> EncodedShard:
    """Encode one shard. Runs in a thread: tokenizing releases the GIL, so health checks are still answered.

    Queries of the passages' own: equal ones are tokenized once where they stand side by side. A bug becomes
    Unavailable: Serve would log its message, which may quote a text.
    """
    started = time.monotonic()
    encode = _encode(encoder, options, max_whole_chars)
    parts: list[EncodedPairs] = []
    for one, part in _runs_of_equal(query, len(passages)):
        try:
            parts.append(await asyncio.to_thread(encode, one, passages[part]))
        except DocumentError as error:
            raise error.at(part.start + error.index) from None
        except RerankerError:
            raise
        except Exception as error:
            log_failure(log, "tokenizing failed", error)
            raise Unavailable(f"tokenizing failed: {type(error).__name__}") from None
    return EncodedShard(EncodedPairs.concat(parts), time.monotonic() - started)


def _encode(encoder: Encoder, options: PairOptions, max_whole_chars: int) -> Encode:
    return partial(
        encoder.encode,
        truncation=options.truncation,
        max_whole_chars=max_whole_chars,
        instruction=options.instruction,
        max_pair_tokens=options.max_pair_tokens,
    )


def _runs_of_equal(query: Query, passages: int) -> Iterator[tuple[str, slice]]:
    if isinstance(query, str):
        yield query, slice(0, passages)
        return
    start = 0
    for one, run in groupby(query):
        stop = start + len(list(run))
        yield one, slice(start, stop)
        start = stop
