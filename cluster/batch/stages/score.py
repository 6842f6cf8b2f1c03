"""The third stage: score and rank a unit's pairs on the device, with the engine that the online graph uses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from cluster.batch.inputs.bad_rows import BadRow
from cluster.batch.scored import RANKED_ROWS, Counts, Scale, ScoredUnit, Seconds
from cluster.batch.stages.columns import COLUMNS, from_columns
from cluster.batch.stages.load_errors import attempt
from cluster.batch.stages.peak_memory import peak_bytes
from reranker.checkpoints import fingerprint
from reranker.checkpoints.files import locate
from reranker.engine.device_thread import device_thread
from reranker.engine.isolation import OUT_OF_MEMORY, score_isolating
from reranker.engine.packing import pack
from reranker.errors import Unavailable
from reranker.fidelity import VerifiedEngine, load_verified
from reranker.pairs import EncodedPairs
from reranker.ranking import best_first
from reranker.settings import CheckpointSettings, EngineSettings

_NOT_FINITE = "its logit is {}: check the model's weights and dtype"
_SHOWN_CHARACTERS = 200  # of an error's text


class ScoreStage:
    """An encoded unit -> the row of a ScoredUnit with the best `top_k` candidates of each query (all if None)."""

    def __init__(
        self,
        checkpoint: CheckpointSettings,
        engine: EngineSettings,
        top_k: int | None,
        load: Callable[[CheckpointSettings, EngineSettings], VerifiedEngine] = load_verified,
    ) -> None:
        self._top_k = top_k
        self._device = device_thread()
        self._loaded = self._device.submit(load, checkpoint, engine)
        self._loaded.exception()  # wait for loading, but raise its error in the first call, as `attempt` does
        self._scale = attempt(lambda: self._scale_of(checkpoint))
        self._worker = f"{os.uname().nodename}:{os.getpid()}"

    def __call__(self, row: pa.Table) -> pa.Table:
        engine, scale = self._loaded.result().engine, self._scale.result()
        started = time.perf_counter()
        (pairs,) = from_columns(row)
        engine.clear_cache()
        logits, failures = self._device.submit(score_isolating, engine.score, pairs).result()
        score_s = time.perf_counter() - started
        unit = row.drop_columns(list(COLUMNS)).to_pylist()[0]
        pair_of = np.array(unit["pair_of"])
        reasons = {pair: _reason(error) for pair, error in failures.items()}
        reason_of = [reasons.get(pair, _NOT_FINITE.format(logits[pair])) for pair in unit["pair_of"]]
        ranked, bad = self._ranked(unit["query_ids"], unit["counts"], unit["docids"], logits[pair_of], reason_of)
        tokens = int(pairs.lengths.sum())
        counts = Counts(
            queries=len(unit["counts"]),
            pairs=len(pair_of),
            scored=len(pairs),
            tokens=tokens,
            padding=_computed_tokens(pairs, scale.max_batch_tokens) - tokens if engine.pads else 0,
            empty=unit["empty"],
            truncated=int(pairs.truncated[pair_of].sum()),
        )
        seconds = Seconds(unit["read_s"], unit["encode_s"], score_s)
        peak = peak_bytes(self._loaded.result().description.device)
        return ScoredUnit(unit["unit"], ranked, bad, scale, counts, seconds, self._worker, peak).to_row()

    def _ranked(
        self, query_ids: list[str], counts: list[int], docids: list[str], logits: np.ndarray, reasons: list[str]
    ) -> tuple[pa.Table, list[BadRow]]:
        """logits, reasons: (candidates,); a reason is why its candidate is a bad row if its logit is not finite."""
        tables, bad = [RANKED_ROWS.empty_table()], []
        end = 0
        for query_id, count in zip(query_ids, counts, strict=True):
            start, end = end, end + count
            names, scores = np.array(docids[start:end], dtype=object), logits[start:end]
            finite = np.isfinite(scores)
            bad += [
                BadRow(reasons[start + place], query_id=query_id, docid=names[place])
                for place in np.flatnonzero(~finite).tolist()
            ]
            names, scores = names[finite], scores[finite]
            best = best_first(scores, self._top_k)
            columns = [[query_id] * len(best), names[best], np.arange(1, len(best) + 1), scores[best]]
            tables.append(pa.table(columns, schema=RANKED_ROWS))
        return pa.concat_tables(tables).combine_chunks(), bad

    def _scale_of(self, checkpoint: CheckpointSettings) -> Scale:
        loaded = self._loaded.result()
        about = loaded.description
        return Scale(
            about.model,
            fingerprint.checkpoint_sha256(locate(checkpoint, weights=True)),
            about.template,
            about.template_version,
            about.max_pair_tokens,
            about.dtype,
            about.device.partition(":")[0],
            loaded.engine.max_batch_tokens,
            loaded.engine.workers,
        )


def _reason(error: Exception) -> str:
    """Why a pair is a bad row. Raises the error if the pair is not to blame for it."""
    if isinstance(error, OUT_OF_MEMORY):
        raise Unavailable("the device has no memory left for a single pair: free it, or use a larger one") from error
    text = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
    return f"the model fails with {type(error).__name__}: {text}"


def _computed_tokens(pairs: EncodedPairs, max_batch_tokens: int) -> int:
    lengths = pairs.lengths
    return sum(len(batch) * int(lengths[batch].max()) for batch in pack(lengths, max_batch_tokens, padded=True))
