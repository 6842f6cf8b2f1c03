"""How fast are training steps compared with the same steps with padding, with a peer, and with the machine's limit?

Every contender makes one optimizer step per round over the same texts, in a process of its own and in random order
within a round. One more times plain matrix products of the model's sizes, of which a step needs three times as
many as a forward.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from cluster.bench.engine.contender import GEMM, Contender
from cluster.bench.engine.rounds import run_rounds
from cluster.bench.machine import machine_facts
from cluster.bench.report import Figures
from cluster.bench.roofline import needed_work
from cluster.bench.training.contenders import PACKED
from cluster.bench.training.figures import StepFacts, figures
from cluster.bench.training.report import print_training
from cluster.bench.training.settings import TrainBenchSettings
from cluster.bench.training.stepper import LEARNING_RATE
from cluster.bench.workload import Request, sample_requests
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import load_config, locate
from reranker.encoder import Encoder
from reranker.engine.engine import choose_device, choose_dtype
from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError
from reranker.prompt import PromptTemplate
from reranker.settings import CheckpointSettings
from reranker.training.settings import StepSettings

WARM_UP_ROUNDS = 2


def measure_training(settings: TrainBenchSettings, peers: list[Contender], console: Console) -> Figures:
    """Measure, print a table, and return the figures (see `figures`) with model, machine and workload.

    Peers that are not installed are skipped; a contender that dies is reported, and the others continue. Raises
    CheckpointError or InvalidField if the model or the texts cannot be used.
    """
    checkpoint = CheckpointSettings(model=settings.model, device=settings.device)
    files = locate(checkpoint, weights=True)
    if files.base is not None:
        raise CheckpointError(f"{files.name} is an adapter, which peers cannot load: merge it into its base first")
    config, encoder = load_config(files), load_encoder(checkpoint, files)
    shape, device = ModelShape.of(config), choose_device(settings.device)
    # Weights are float32; what may be lower is the arithmetic, as in a run.
    dtype = str(choose_dtype(settings.dtype, torch.bfloat16, device)).removeprefix("torch.")
    rounds = WARM_UP_ROUNDS + settings.rounds
    steps = _steps(sample_requests(rounds * settings.queries, settings.candidates, settings.seed), settings.queries)
    facts = [_step_facts(step, encoder, shape) for step in steps]
    options: dict[str, Any] = {
        "model": str(files.directory),
        "template": encoder.template.name,
        "max_pair_tokens": encoder.max_pair_tokens,
        "dtype": dtype,
        "device": device,
        "threads": settings.threads or len(os.sched_getaffinity(0)),
        "queries": settings.queries,
        "batch_pairs": settings.batch_pairs,
        "learning_rate": LEARNING_RATE,
        "linears": [(linear.inputs, linear.outputs) for linear in shape.linears],
        "layers": shape.layers,
        "workers": 1,
        "rows": min(StepSettings().micro_batch_tokens, max(step.tokens for step in facts)),
    }
    found = [(contender, contender.interpreter()) for contender in (PACKED, GEMM, *peers)]
    installed = [(contender, interpreter) for contender, interpreter in found if interpreter is not None]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=len(installed) * (1 + rounds))
        measured = run_rounds(
            installed,
            options,
            steps,
            partial(_message, encoder.template),
            warm_up=WARM_UP_ROUNDS,
            seed=settings.seed,
            progress=lambda step: bar.update(task, advance=1, description=step),
        )
    skipped = [contender for contender, interpreter in found if interpreter is None]
    result = {
        "model": {
            "name": files.name,
            "architecture": config.model_type,
            "layers": shape.layers,
            "hidden": shape.hidden,
            "dtype": dtype,
            "max_pair_tokens": encoder.max_pair_tokens,
        },
        "machine": {**machine_facts(device), "threads": options["threads"]},
        "workload": {
            "queries_per_step": settings.queries,
            "candidates": settings.candidates,
            "batch_pairs": settings.batch_pairs,
            "rounds": settings.rounds,
            "warm_up_rounds": WARM_UP_ROUNDS,
            "seed": settings.seed,
        },
        **figures(measured, skipped, facts[WARM_UP_ROUNDS:]),
    }
    print_training(result, console)
    return result


def _steps(requests: list[Request], queries: int) -> list[list[Request]]:
    return [requests[first : first + queries] for first in range(0, len(requests), queries)]


def _step_facts(step: list[Request], encoder: Encoder, shape: ModelShape) -> StepFacts:
    tokens = flops = 0
    for request in step:
        pairs = encoder.encode(request.query, request.passages)
        prefixes, passages = np.diff(pairs.prefix_offsets), np.diff(pairs.passage_offsets)
        tokens += int(pairs.lengths.sum())
        flops += needed_work(shape, prefixes.astype(np.int32), pairs.prefix_of, passages.astype(np.int32)).flops
    return StepFacts(tokens, 3 * flops)


def _message(template: PromptTemplate, contender: Contender, step: list[Request]) -> dict[str, Any]:
    """Groups with texts as our drivers read them, and with the template applied as the peer does."""
    return {
        "groups": [
            {
                "query": template.query(request.query) if contender.install else request.query,
                "passages": request.passages,
                "documents": [template.passage(passage) for passage in request.passages],
            }
            for request in step
        ]
    }
