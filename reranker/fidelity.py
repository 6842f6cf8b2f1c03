"""Check that a loaded model gives Hugging Face's scores: replay the checkpoint's golden pairs before it serves.

The check is necessary, not sufficient: it detects a wrong template, tokenizer, head, adapter or dtype in a second,
and the description says what it cannot detect. Statistics over thousands of pairs are left to the tests.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

from reranker.agreement import Bounds, bounds, disagreement
from reranker.checkpoints.config_file import config_change, read_config
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import CheckpointFiles, load_config, locate
from reranker.checkpoints.manifest import GoldenPair, Manifest
from reranker.checkpoints.resolve import resolve
from reranker.encoder import Encoder
from reranker.engine.engine import HALF_PRECISION, Engine, load_engine
from reranker.engine.models.loading import why_no_fast_forward
from reranker.errors import FidelityError
from reranker.pairs import EncodedPairs
from reranker.settings import CheckpointSettings, EngineSettings
from reranker.types import ModelDescription, Passage

log = logging.getLogger(__name__)

_ADVICE = (
    "the weights, the tokenizer or this forward are not those of the import: import the checkpoint again, or set "
    "forward to huggingface"
)


@dataclass(frozen=True, slots=True)
class VerifiedEngine:
    """An engine after the replay of its golden scores, with its encoder and the description for clients.

    instruction: of the golden pairs; settings may have another default.
    """

    engine: Engine
    encoder: Encoder
    description: ModelDescription
    golden: tuple[GoldenPair, ...] = ()
    instruction: str | None = None

    def verify(self) -> None:
        """Replay the golden scores again; does nothing without them. Raises FidelityError."""
        if self.golden:
            replay(self.golden, self.encoder, self.engine, self.instruction)


def load_verified(checkpoint: CheckpointSettings, settings: EngineSettings) -> VerifiedEngine:
    """Load a checkpoint and replay its golden pairs.

    Raises CheckpointError when it cannot be loaded, FidelityError when its scores are wrong. Without golden scores
    the description says 'unverified'.
    """
    files = locate(checkpoint, weights=True)
    resolved = resolve(checkpoint, files)
    encoder = load_encoder(checkpoint, files)
    warnings = encoder.warnings
    if files.manifest is not None and files.manifest.forward == "huggingface":
        settings = settings.model_copy(update={"forward": "huggingface"})
    engine = load_engine(files, encoder, checkpoint, settings)
    golden: tuple[GoldenPair, ...] = ()
    instruction = files.manifest.recipe.template.instruction if files.manifest is not None else None
    hidden, forward = "", "simulated"
    if settings.simulated_tokens_per_s is not None:
        fidelity = "simulated: the scores are invented"
    else:
        config = load_config(files, score=encoder.recipe.score, trust_remote_code=checkpoint.trust_remote_code)
        if (problem := why_no_fast_forward(config, encoder.max_pair_tokens, encoder.recipe)) is not None:
            warnings += (f"has no fast forward, using Hugging Face's: {problem}",)
        forward = "fast" if problem is None and settings.forward == "auto" else "huggingface"
        golden, fidelity = _applicable(files.manifest, encoder)
        if golden:
            fidelity, hidden = _verified(files, golden, encoder, engine, instruction)
    for warning in warnings:
        log.warning("%s: %s", files.name, warning)
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
            assumed_template=resolved.assumed,
            dtype=_name(engine.dtype),
            device=engine.device,
            fidelity=fidelity,
            pooling=encoder.pooling,
            recipe=f"{resolved.recipe.name}, from {resolved.origins['name']}",
            instruction=encoder.template.instruction,
            warnings=warnings,
            undetectable=hidden,
            forward=forward,
        ),
        golden,
        instruction,
    )


def _applicable(manifest: Manifest | None, encoder: Encoder) -> tuple[tuple[GoldenPair, ...], str]:
    """The golden pairs that this encoder must reproduce; if there are none, the fidelity for the description."""
    if manifest is None or not manifest.golden:
        return (), "unverified: the checkpoint has no golden scores"
    then = manifest.recipe
    if not encoder.recipe.scores_as(then):
        scored_as = f"template {then.template.name} at {then.max_pair_tokens} tokens, pooling {then.pooling}"
        return (), f"unverified: the golden scores are for {scored_as}"
    return manifest.golden, ""


def _verified(
    files: CheckpointFiles,
    golden: tuple[GoldenPair, ...],
    encoder: Encoder,
    engine: Engine,
    instruction: str | None,
) -> tuple[str, str]:
    """Fidelity, and what the check cannot detect, for the description. Raises FidelityError."""
    imported = files.manifest.config if files.manifest is not None else None
    changed = config_change(imported, read_config(files.base or files.directory)) if imported is not None else None
    if changed is not None:
        raise FidelityError(changed, "restore it, or import the checkpoint again")
    worst, limit = replay(golden, encoder, engine, instruction)
    fidelity = f"verified: {len(golden)} golden scores within {worst:.2g} (bound {limit.pair:.2g})"
    return fidelity, limit.hidden(_name(engine.dtype))


def replay(
    golden: tuple[GoldenPair, ...], encoder: Encoder, engine: Engine, instruction: str | None = None
) -> tuple[float, Bounds]:
    """(largest |error| in logits, the bounds). Raises FidelityError naming the check that failed."""
    parts = [encoder.encode(pair.query, [Passage(pair.text, pair.title)], instruction=instruction) for pair in golden]
    for number, (pair, part) in enumerate(zip(golden, parts, strict=True)):
        if tuple(part.pair_ids(0).tolist()) != pair.input_ids:
            raise FidelityError(f"golden pair {number} has other token ids than Hugging Face's", _ADVICE)
    logits = engine.score(EncodedPairs.concat(parts))
    truth = np.array([pair.logit for pair in golden], dtype=np.float32)
    half = np.array([pair.logit_bfloat16 for pair in golden], dtype=np.float32)
    reference = half if engine.dtype in HALF_PRECISION else None
    problem = disagreement(logits, truth, reference, _name(engine.dtype))
    if problem is not None:
        raise FidelityError(problem, _ADVICE)
    return float(np.abs(logits - truth).max()), bounds(truth, reference)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
