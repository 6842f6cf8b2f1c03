"""How fast is the engine compared with its peers, and with what the machine can do?

Every contender gets the same texts, threads and dtype, in a process of its own. Contenders run in random order within
each round, each round has new texts, and medians over rounds are compared, because clocks of shared machines are
noisy. In the same rounds one contender times plain matrix products of the model's sizes: the roofline.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from cluster.bench.engine.contender import GEMM, RERANKER, Contender
from cluster.bench.engine.figures import RoundFacts, figures
from cluster.bench.engine.report import print_engine
from cluster.bench.engine.rounds import Measured, run_rounds
from cluster.bench.engine.settings import DEFAULT_SHAPE, EngineBenchSettings
from cluster.bench.machine import machine_facts
from cluster.bench.report import Figures
from cluster.bench.roofline import needed_work
from cluster.bench.synthetic import kept_synthetic
from cluster.bench.workload import Request, collection_requests, sample_requests
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import load_config, locate
from reranker.encoder import Encoder
from reranker.engine.engine import choose_batch_tokens, choose_device, choose_dtype, choose_workers
from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError
from reranker.prompt import BARE, PromptTemplate
from reranker.settings import CheckpointSettings, EngineSettings

WARM_UP_ROUNDS = 2


def measure_engine(settings: EngineBenchSettings, peers: list[Contender], console: Console) -> Figures:
    """Measure, print a table, and return the figures (see `figures`) with model, machine and workload.

    Peers that are not installed are skipped; a contender that dies is reported, and the others continue. Raises
    CheckpointError, InvalidFile or InvalidField if the model or the collection cannot be used.
    """
    checkpoint = CheckpointSettings.model_validate(
        {
            "model": settings.model or str(kept_synthetic(settings.shape or DEFAULT_SHAPE, console)),
            "dtype": settings.dtype,
            "device": settings.device,
        }
    )
    files = locate(checkpoint, weights=True)
    if files.base is not None:
        raise CheckpointError(f"{files.name} is an adapter, which peers cannot load: merge it into its base first")
    encoder = load_encoder(checkpoint, files)
    config = load_config(files, score=encoder.recipe.score)
    device = choose_device(checkpoint.device)
    dtype = str(choose_dtype(checkpoint.dtype, config.dtype, device)).removeprefix("torch.")
    shape = _shape(config, console)
    options: dict[str, Any] = {
        "model": str(files.directory),
        "recipe": encoder.recipe.model_dump(mode="json"),
        "max_pair_tokens": encoder.max_pair_tokens,
        "dtype": dtype,
        "device": device,
        "threads": settings.threads or len(os.sched_getaffinity(0)),
    }
    if shape is not None:
        engine = EngineSettings(threads=options["threads"])
        pair_tokens = encoder.max_pair_tokens
        workers = choose_workers(engine, config, pair_tokens, device, encoder.recipe)
        options |= {
            "linears": [(linear.inputs, linear.outputs) for linear in shape.linears],
            "layers": shape.layers,
            "workers": workers,
            "rows": choose_batch_tokens(
                engine, config, pair_tokens, getattr(torch, dtype), device, workers, encoder.recipe
            )
            // workers,
        }
    count = WARM_UP_ROUNDS + settings.rounds
    requests = (
        collection_requests(settings.collection, count, settings.documents, settings.seed)
        if settings.collection
        else sample_requests(count, settings.documents, settings.seed)
    )
    contenders = [RERANKER, *([GEMM] if shape is not None else []), *peers]
    measured, skipped = _measure(settings, contenders, options, requests, encoder, console)
    facts = [_round_facts(request, encoder, shape) for request in requests[WARM_UP_ROUNDS:]]
    result = {
        "model": {
            "name": files.name,
            "architecture": config.model_type,
            "layers": getattr(config, "num_hidden_layers", None),
            "hidden": config.hidden_size,
            "dtype": dtype,
            "template": encoder.template.name,
            "max_pair_tokens": encoder.max_pair_tokens,
        },
        "machine": {**machine_facts(device), "threads": options["threads"]},
        "workload": {
            "collection": settings.collection.name if settings.collection else "sample",
            "documents_per_query": settings.documents,
            "rounds": settings.rounds,
            "warm_up_rounds": WARM_UP_ROUNDS,
            "interleaved": not settings.one_at_a_time,
            "seed": settings.seed,
        },
        **figures(measured, skipped, facts),
    }
    print_engine(result, console)
    return result


def _measure(
    settings: EngineBenchSettings,
    contenders: list[Contender],
    options: dict[str, Any],
    requests: list[Request],
    encoder: Encoder,
    console: Console,
) -> tuple[list[Measured], list[Contender]]:
    """Results of the contenders that are installed, and the contenders that are not."""
    found = [(contender, contender.interpreter()) for contender in contenders]
    installed = [(contender, interpreter) for contender, interpreter in found if interpreter is not None]
    ours = [pair for pair in installed if pair[0] in (RERANKER, GEMM)]
    theirs = [pair for pair in installed if pair not in ours]
    groups = [ours, *([pair] for pair in theirs)] if settings.one_at_a_time else [installed]
    measured: list[Measured] = []
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("", total=len(installed) * (1 + len(requests)))
        for group in groups:
            measured += run_rounds(
                group,
                options,
                requests,
                partial(_message, encoder.template),
                warm_up=WARM_UP_ROUNDS,
                seed=settings.seed,
                progress=lambda step: bar.update(task, advance=1, description=step),
            )
    return measured, [contender for contender, interpreter in found if interpreter is None]


def _shape(config: Any, console: Console) -> ModelShape | None:
    """None, with a line on the console, for an architecture whose FLOPs are not counted."""
    try:
        return ModelShape.of(config)
    except CheckpointError as error:
        console.print(str(error), markup=False)
        return None


def _round_facts(request: Request, encoder: Encoder, shape: ModelShape | None) -> RoundFacts:
    pairs = encoder.encode(request.query, request.passages)
    work = None
    if shape is not None:
        prefixes, passages = np.diff(pairs.prefix_offsets), np.diff(pairs.passage_offsets)
        work = needed_work(shape, prefixes.astype(np.int32), pairs.prefix_of, passages.astype(np.int32))
    return RoundFacts(len(request.passages), int(pairs.lengths.sum()), work)


def _message(template: PromptTemplate, contender: Contender, request: Request) -> dict[str, Any]:
    """Our driver applies the template itself, and so do peers of language models; other peers get texts with it
    applied.
    """
    if contender is RERANKER:
        return {"query": request.query, "passages": request.passages}
    if template.special_tokens != "pair":
        return {"query": request.query, "documents": [BARE.passage(passage) for passage in request.passages]}
    return {
        "query": template.query(request.query),
        "documents": [template.passage(passage) for passage in request.passages],
    }
