"""Scores of random models in the shapes of real ones, by our engine and by the authors' loop with Hugging Face.

The loop scores one pair at a time and computes all logits of a language model. In bfloat16 both round; how well each
keeps the order of the float32 reference is compared by Kendall's tau.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from cluster.bench.fidelity.report import print_fidelity
from cluster.bench.fidelity.settings import FidelityBenchSettings
from cluster.bench.machine import machine_facts
from cluster.bench.report import Figures
from cluster.bench.workload import sample_requests
from cluster.sample import CORPUS
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import load_config, load_tokenizer, locate
from reranker.checkpoints.modules import load_module
from reranker.checkpoints.reference import reference_logits
from reranker.checkpoints.synth import synthesize
from reranker.checkpoints.synth_shapes import shape_named
from reranker.engine.engine import load_engine
from reranker.engine.models.loading import why_no_fast_forward
from reranker.errors import CheckpointError
from reranker.ir.texts import iter_corpus
from reranker.pairs import EncodedPairs, FloatArray
from reranker.settings import CheckpointSettings, Dtype, EngineSettings
from reranker.types import Passage

_DOCUMENTS = 25  # per query

Pairs = Sequence[tuple[str, Passage]]


def measure_fidelity(settings: FidelityBenchSettings, shapes: Sequence[str], console: Console) -> Figures:
    """Measure, print a table, and return one row per shape, with the machine. Raises CheckpointError."""
    queries = -(-settings.pairs // _DOCUMENTS)
    requests = sample_requests(queries, _DOCUMENTS, settings.seed)
    pairs = [(request.query, passage) for request in requests for passage in request.passages][: settings.pairs]
    rows = []
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=len(shapes))
        for name in shapes:
            bar.update(task, description=name)
            with tempfile.TemporaryDirectory(prefix="reranker-bench-") as directory:
                rows.append(_measure(name, Path(directory) / name, settings, pairs))
            difference = rows[-1]["max_difference_float32"]  # shown at once: a shape may take minutes
            console.print(f"{name}: max |Δ| {difference:.1e} in float32", markup=False)
            bar.advance(task)
    result = {"settings": settings.model_dump(mode="json"), "machine": machine_facts("cpu"), "models": rows}
    print_fidelity(result, console)
    return result


def _measure(name: str, directory: Path, settings: FidelityBenchSettings, pairs: Pairs) -> dict[str, Any]:
    shape = shape_named(name).cut(settings.layers, settings.vocabulary)
    texts = [passage.text for _, passage in iter_corpus(CORPUS)]
    synthesize(shape, directory, texts, seed=settings.seed, dtype=torch.float32)
    longest = min(settings.max_pair_tokens, shape.pairs.max_pair_tokens or settings.max_pair_tokens)
    checkpoint = CheckpointSettings(model=str(directory), max_pair_tokens=longest)
    truth, ours = _reference(checkpoint, "float32", pairs), _engine(checkpoint, "float32", pairs)
    half, ours_half = _reference(checkpoint, "bfloat16", pairs), _engine(checkpoint, "bfloat16", pairs)
    files = locate(checkpoint, weights=False)
    encoder = load_encoder(checkpoint, files)
    slow = why_no_fast_forward(
        load_config(files, score=encoder.recipe.score), encoder.max_pair_tokens, encoder.recipe
    )
    return {
        "name": name,
        "recipe": encoder.recipe.name,
        "forward": "fast" if slow is None else "Hugging Face",
        "pairs": len(pairs),
        "cut_pairs": int(sum(encoder.encode(query, [passage]).truncated[0] for query, passage in pairs)),
        "logit_deviation": float(truth.std()),
        "max_difference_float32": float(np.abs(ours - truth).max()),
        "rms_bfloat16": _rms(ours_half - truth),
        "rms_bfloat16_reference": _rms(half - truth),
        "tau_bfloat16": _tau(ours_half, truth),
        "tau_bfloat16_reference": _tau(half, truth),
    }


def _reference(checkpoint: CheckpointSettings, dtype: Dtype, pairs: Pairs) -> FloatArray:
    files = locate(checkpoint, weights=True)
    encoder = load_encoder(checkpoint, files)
    module = load_module(files, dtype=getattr(torch, dtype), device="cpu", recipe=encoder.recipe)
    return reference_logits(
        module,
        load_tokenizer(files),
        encoder.template,
        encoder.max_pair_tokens,
        pairs,
        padded=encoder.pad is not None,
        token_weights=encoder.token_weights,
        mean=encoder.recipe.pooling == "mean",
    )


def _engine(checkpoint: CheckpointSettings, dtype: Dtype, pairs: Pairs) -> FloatArray:
    files = locate(checkpoint, weights=True)
    encoder = load_encoder(checkpoint, files)
    settings = checkpoint.model_copy(update={"dtype": dtype, "device": "cpu"})
    engine = load_engine(files, encoder, settings, EngineSettings())
    queries = list(dict.fromkeys(query for query, _ in pairs))
    encoded = [encoder.encode(query, [passage for other, passage in pairs if other == query]) for query in queries]
    logits = engine.score(EncodedPairs.concat(encoded))
    if len(logits) != len(pairs):
        raise CheckpointError(f"{files.name} gave {len(logits)} scores for {len(pairs)} pairs")
    return logits


def _rms(errors: FloatArray) -> float:
    return float(np.sqrt(np.square(errors.astype(np.float64)).mean()))


def _tau(scores: FloatArray, truth: FloatArray) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(scores, truth).statistic)
