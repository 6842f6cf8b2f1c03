"""Check that a loaded model gives Hugging Face's scores: replay the checkpoint's golden pairs before it serves.

The check is necessary, not sufficient: it detects a wrong template, tokenizer, head, adapter or dtype in a second.
Statistics over thousands of pairs are left to the tests.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from reranker.checkpoints.files import load_encoder, locate
from reranker.checkpoints.manifest import GoldenPair, Manifest
from reranker.encoding import PairEncoder
from reranker.engine.engine import HALF_PRECISION, Engine, load_engine
from reranker.errors import FidelityError
from reranker.pairs import EncodedPairs
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import ModelDescription, Passage

log = logging.getLogger(__name__)

FLOAT32_BOUND = 1e-4
# Half precision rounds differently on every machine. The bound is ours: a few times Hugging Face's own bfloat16
# error, and at least two units in the last place (bfloat16) of the largest logit.
HALF_ERROR_FACTOR = 4.0
HALF_ULPS = 2 * 2.0**-8


@dataclass(frozen=True, slots=True)
class VerifiedEngine:
    """An engine after the replay of its golden scores, with its encoder and the description for clients."""

    engine: Engine
    encoder: PairEncoder
    description: ModelDescription
    golden: tuple[GoldenPair, ...] = ()

    def verify(self) -> None:
        """Replay the golden scores again; does nothing without them. Raises FidelityError."""
        if self.golden:
            replay(self.golden, self.encoder, self.engine)


def load_verified(checkpoint: CheckpointSettings, settings: EngineSettings) -> VerifiedEngine:
    """Load a checkpoint and replay its golden pairs.

    Raises CheckpointError when it cannot be loaded, FidelityError when its scores are wrong. Without golden scores
    the description says 'unverified'.
    """
    files = locate(checkpoint, weights=True)
    encoder = load_encoder(checkpoint, files)
    engine = load_engine(files, encoder, checkpoint, settings)
    golden: tuple[GoldenPair, ...] = ()
    if settings.simulated_tokens_per_s is None:
        golden, fidelity = _verified(files.manifest, encoder, engine)
    else:
        fidelity = "simulated: the scores are invented"
    if encoder.pooling.startswith("last:"):
        log.warning("%s: pooling %s", files.name, encoder.pooling)
    log.info("%s on %s in %s: %s", files.name, engine.device, engine.dtype, fidelity)
    return VerifiedEngine(
        engine,
        encoder,
        ModelDescription(
            model=files.name,
            revision=checkpoint.revision,
            template=encoder.template.name,
            template_version=encoder.template.version,
            max_pair_tokens=encoder.max_pair_tokens,
            assumed_template=files.manifest is None and checkpoint.template == "auto",
            dtype=str(engine.dtype).removeprefix("torch."),
            device=engine.device,
            fidelity=fidelity,
            pooling=encoder.pooling,
        ),
        golden,
    )


def _verified(manifest: Manifest | None, encoder: PairEncoder, engine: Engine) -> tuple[tuple[GoldenPair, ...], str]:
    """The golden pairs that apply to this engine, after their replay, and the fidelity for its description."""
    if manifest is None or not manifest.golden:
        return (), "unverified: the checkpoint has no golden scores"
    pooling = "last" if encoder.pad is None else "padded"
    if (encoder.template.name, encoder.max_pair_tokens, pooling) != (
        manifest.template,
        manifest.max_pair_tokens,
        manifest.pooling,
    ):
        scored_as = f"template {manifest.template} at {manifest.max_pair_tokens} tokens, pooling {manifest.pooling}"
        return (), f"unverified: the golden scores are for {scored_as}"
    worst, bound = replay(manifest.golden, encoder, engine)
    return manifest.golden, f"verified: {len(manifest.golden)} golden scores within {worst:.2g} (bound {bound:.2g})"


def replay(golden: tuple[GoldenPair, ...], encoder: PairEncoder, engine: Engine) -> tuple[float, float]:
    """(largest |error|, its bound), in logits. Raises FidelityError naming the check that failed."""
    parts = [encoder.encode(pair.query, [Passage(pair.text, pair.title)]) for pair in golden]
    for number, (pair, part) in enumerate(zip(golden, parts, strict=True)):
        if tuple(part.pair_ids(0).tolist()) != pair.input_ids:
            raise FidelityError(
                f"golden pair {number} has other token ids than Hugging Face's: "
                "the tokenizer or the template differs from the one the checkpoint was imported with"
            )
    logits = engine.score(EncodedPairs.concat(parts))
    truth = np.array([pair.logit for pair in golden], dtype=np.float32)
    errors = np.abs(logits - truth)
    bound = FLOAT32_BOUND
    if engine.dtype in HALF_PRECISION:
        reference_error = np.abs(np.array([pair.logit_bfloat16 for pair in golden]) - truth).max()
        bound = float(max(HALF_ERROR_FACTOR * reference_error, HALF_ULPS * np.abs(truth).max()))
    if not np.all(errors <= bound):  # true as well when an error is NaN
        worst = int(np.argmax(np.nan_to_num(errors, nan=np.inf)))
        dtype = str(engine.dtype).removeprefix("torch.")
        raise FidelityError(
            f"golden pair {worst} scores {logits[worst]:.5g} where Hugging Face gave {truth[worst]:.5g} "
            f"({dtype}, bound {bound:.2g}): the weights differ from the imported ones"
        )
    return float(errors.max()), bound
