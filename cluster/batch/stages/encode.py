"""The second stage: tokenize a unit's texts, on CPU, with the encoder that the online graph uses."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from cluster.batch.stages.columns import to_columns
from cluster.batch.stages.load_errors import attempt
from reranker.checkpoints.encoders import load_encoder
from reranker.deduplicate import deduplicate
from reranker.encoder import Encoder
from reranker.pairs import EncodedPairs, IntArray
from reranker.settings import CheckpointSettings
from reranker.types import Passage


class EncodeStage:
    """UNIT_ROW -> the unit's ids, the columns of EncodedPairs, and each candidate's index into the pairs."""

    def __init__(self, checkpoint: CheckpointSettings) -> None:
        self._encoder = attempt(lambda: load_encoder(checkpoint))

    def __call__(self, row: pa.Table) -> pa.Table:
        started = time.perf_counter()
        encoder = self._encoder.result()
        unit = row.to_pylist()[0]
        pairs, pair_of = encode_unit(encoder, unit["queries"], unit["counts"], unit["titles"], unit["texts"])
        columns = {name: row.column(name) for name in ("unit", "query_ids", "counts", "docids", "read_s")}
        columns["pair_of"] = pa.array([pair_of], pa.list_(pa.int32()))
        columns |= to_columns([pairs])
        empty = sum(not text.strip() for text in unit["texts"])
        columns |= {"empty": pa.array([empty]), "encode_s": pa.array([time.perf_counter() - started])}
        return pa.table(columns)


def encode_unit(
    encoder: Encoder, queries: list[str], counts: list[int], titles: list[str], texts: list[str]
) -> tuple[EncodedPairs, IntArray]:
    """Encode a unit, with equal passages of a query deduplicated.

    Arguments are fields of `plan.Unit`. Returns the pairs, and int32 (candidates,), each candidate's index into them.
    """
    encoded: list[EncodedPairs] = []
    pair_of = []
    pairs = end = 0
    for query, count in zip(queries, counts, strict=True):
        start, end = end, end + count
        fields = zip(texts[start:end], titles[start:end], strict=True)
        passages, indices = deduplicate([Passage(text, title) for text, title in fields])
        encoded.append(encoder.encode(query, passages))
        pair_of.append(indices + pairs)
        pairs += len(passages)
    return EncodedPairs.concat(encoded), np.concatenate(pair_of)
