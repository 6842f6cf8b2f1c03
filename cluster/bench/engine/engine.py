"""How fast is the engine beside its peers, and how near to what the machine can do?

Every contender gets the same texts, threads and dtype, in a process of its own. Rounds of all are interleaved in
random order, each with texts that nobody has seen, and medians over rounds are compared: clocks of shared machines
are noisy. In the same rounds the machine multiplies matrices of the model's sizes, which gives the roof.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, PositiveInt
from rich.console import Console
from rich.progress import Progress

from cluster.bench.engine.contender import GEMM, RERANKER, Contender
from cluster.bench.engine.report import RoundFacts, print_report, report
from cluster.bench.engine.rounds import Measured, run_rounds
from cluster.bench.machine import machine_facts
from cluster.bench.roofline import needed_work
from cluster.bench.synthetic import kept_synthetic
from cluster.bench.workload import Request, collection_requests, sample_requests
from reranker.checkpoints.files import load_config, load_encoder, locate
from reranker.encoding import PairEncoder
from reranker.engine.engine import choose_batch_tokens, choose_device, choose_dtype, choose_workers
from reranker.engine.shape import ModelShape
from reranker.errors import CheckpointError
from reranker.settings import CheckpointSettings, EngineSettings, Settings

WARM_UP_ROUNDS = 2
DEFAULT_SHAPE = "12x576"


class EngineBenchSettings(Settings):
    """What is measured, and over how much."""

    model: str | None = Field(None, description="None makes, and keeps, a random checkpoint of DEFAULT_SHAPE.")
    dtype: str = Field("auto", description="As in CheckpointSettings; all contenders compute in it.")
    device: str = Field("auto", description="As in CheckpointSettings.")
    collection: Path | None = Field(None, description="None takes the bundled texts.")
    documents: PositiveInt = Field(100, description="Of each query.")
    rounds: PositiveInt = Field(7, description="One query each; more even out a noisy machine.")
    threads: PositiveInt | None = Field(None, description="None takes every core this process may use.")
    one_at_a_time: bool = Field(False, description="Never two contenders in memory; rounds are not interleaved then.")
    seed: int = Field(0, ge=0, description="Of texts and order.")


def measure_engine(settings: EngineBenchSettings, peers: list[Contender], console: Console) -> dict[str, Any]:
    """The report as a JSON object (see `report`); a table goes to the console.

    Peers that are not installed are skipped, those that die are reported, and the others go on. Raises
    CheckpointError, InvalidFile or InvalidField where model or collection cannot be used.
    """
    checkpoint = CheckpointSettings.model_validate(
        {
            "model": str(kept_synthetic(DEFAULT_SHAPE, console)) if settings.model is None else settings.model,
            "dtype": settings.dtype,
            "device": settings.device,
        }
    )
    files = locate(checkpoint, weights=True)
    if files.base is not None:
        raise CheckpointError(f"{files.name} is an adapter, which peers cannot read: merge it into its base first")
    config, encoder = load_config(files), load_encoder(checkpoint, files)
    device = choose_device(checkpoint.device)
    dtype = str(choose_dtype(checkpoint.dtype, config.dtype, device)).removeprefix("torch.")
    shape = _shape(config, console)
    told = {
        "model": str(files.directory),
        "template": encoder.template.name,
        "max_pair_tokens": encoder.max_pair_tokens,
        "dtype": dtype,
        "device": device,
        "threads": settings.threads or len(os.sched_getaffinity(0)),
    }
    if shape is not None:
        engine = EngineSettings(threads=told["threads"])
        pair_tokens = encoder.max_pair_tokens
        workers = choose_workers(engine, config, pair_tokens, device)
        told |= {
            "linears": [(linear.inputs, linear.outputs) for linear in shape.linears],
            "layers": shape.layers,
            "workers": workers,
            "rows": choose_batch_tokens(engine, config, pair_tokens, getattr(torch, dtype), device, workers)
            // workers,
        }
    count = WARM_UP_ROUNDS + settings.rounds
    requests = (
        collection_requests(settings.collection, count, settings.documents, settings.seed)
        if settings.collection
        else sample_requests(count, settings.documents, settings.seed)
    )
    measured, skipped = _measure(settings, peers, told, requests, encoder, console, with_roof=shape is not None)
    facts = [_facts(request, encoder, shape) for request in requests[WARM_UP_ROUNDS:]]
    result = {
        "model": {
            "name": files.name,
            "architecture": config.model_type,
            "layers": config.num_hidden_layers,
            "hidden": config.hidden_size,
            "dtype": dtype,
            "template": encoder.template.name,
            "max_pair_tokens": encoder.max_pair_tokens,
        },
        "machine": {**machine_facts(device), "threads": told["threads"]},
        "workload": {
            "collection": settings.collection.name if settings.collection else "sample",
            "documents_per_query": settings.documents,
            "rounds": settings.rounds,
            "warm_up_rounds": WARM_UP_ROUNDS,
            "interleaved": not settings.one_at_a_time,
            "seed": settings.seed,
        },
        **report(measured, skipped, facts),
    }
    print_report(result, console)
    return result


def _measure(
    settings: EngineBenchSettings,
    peers: list[Contender],
    told: dict[str, Any],
    requests: list[Request],
    encoder: PairEncoder,
    console: Console,
    *,
    with_roof: bool,
) -> tuple[list[Measured], list[Contender]]:
    """All contenders that are installed, and those that are not."""
    found = [(peer, peer.interpreter()) for peer in [RERANKER, *([GEMM] if with_roof else []), *peers]]
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
                told,
                requests,
                encoder.template,
                warm_up=WARM_UP_ROUNDS,
                seed=settings.seed,
                progress=lambda what: bar.update(task, advance=1, description=what),
            )
    return measured, [peer for peer, interpreter in found if interpreter is None]


def _shape(config: Any, console: Console) -> ModelShape | None:
    try:
        return ModelShape.of(config)
    except CheckpointError as error:
        console.print(str(error), markup=False)
        return None


def _facts(request: Request, encoder: PairEncoder, shape: ModelShape | None) -> RoundFacts:
    pairs = encoder.encode(request.query, request.passages)
    work = None
    if shape is not None:
        prefixes, passages = np.diff(pairs.prefix_offsets), np.diff(pairs.passage_offsets)
        work = needed_work(shape, prefixes.astype(np.int32), pairs.prefix_of, passages.astype(np.int32))
    return RoundFacts(len(request.passages), int(pairs.lengths.sum()), work)
