"""A suite of several models: each reranks the same collections, and all are measured against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.evaluation.collection import find_collections
from cluster.evaluation.comparison import compare, run_names
from cluster.evaluation.cost import cost_of
from cluster.evaluation.models_report import ModelsReport
from cluster.evaluation.report import FIRST_STAGE, CollectionResult
from cluster.evaluation.suite import Suite, check_collections, plan_jobs, read_first_stage, run_jobs
from reranker.checkpoints.encoders import load_encoder
from reranker.errors import InvalidField
from reranker.ir.qrels import read_qrels
from reranker.ir.runs import read_run


def models_in(text: str) -> dict[str, str]:
    """Short name -> model, of a comma-separated list. Raises InvalidField for an empty or a repeated one.

    Names tell the models apart: of the directories tuned/dear and tuned/mono they are dear and mono.
    """
    models = [model.strip() for model in text.split(",")]
    paths = [_path_of(model) for model in models]
    if not all(models):
        raise InvalidField("--models", f"{text!r} has an empty name: give models separated by commas, as in A,B")
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise InvalidField("--models", f"{models[place]!r} is given twice")
    names = run_names([path.relative_to(path.anchor) for path in paths])
    for place, name in enumerate(names):
        if name in [*names[:place], FIRST_STAGE]:
            raise InvalidField("--models", f"another row would be called {name!r}, as {models[place]!r}: rename it")
    return dict(zip(names, models, strict=True))


def plan_models(
    models: Mapping[str, str], directory: Path, output: Path, depth: int, options: Mapping[str, Any]
) -> dict[str, Suite]:
    """Model name -> its suite, with one batch job per collection, into output/NAME/COLLECTION.

    models: of `models_in`. options: as for `plan_suite`, but for the model. Raises as `plan_suite` does, and
    CheckpointError for a model that cannot be loaded, before any of them has scored.
    """
    suites = {}
    for name, model in models.items():
        collections = find_collections(directory, output / name)
        chosen = {**options, "checkpoint": {**options["checkpoint"], "model": model}}
        suites[name] = Suite(model, depth, plan_jobs(collections, output / name, depth, chosen))
    jobs = [suite.jobs for suite in suites.values()]
    check_collections([collection for collection, _ in jobs[0]])
    for of_model in jobs:
        load_encoder(of_model[0][1].checkpoint)
    return suites


def run_models(suites: Mapping[str, Suite], price_per_hour: float | None, console: Console) -> ModelsReport:
    """Rerank and measure, skipping jobs that an earlier call has finished. Raises what the batch job raises."""
    jobs = [
        (f"{name}: {collection.name}", settings)
        for name, suite in suites.items()
        for collection, settings in suite.jobs
    ]
    reports = iter(run_jobs(jobs, console))
    first = next(iter(suites.values()))
    counts = [next(reports) for _ in first.jobs]  # equal for all models, which read the same inputs
    results = []
    for place, (collection, _) in enumerate(first.jobs):
        runs = [(name, read_run(_outputs(suite)[place] / "run.trec")) for name, suite in suites.items()]
        runs.append((FIRST_STAGE, read_first_stage(collection.run, first.depth)))
        comparison = compare(read_qrels(collection.qrels), runs)
        results.append(CollectionResult(collection, counts[place].queries, counts[place].pairs, comparison))
    return ModelsReport(
        models={name: suite.model for name, suite in suites.items()},
        costs={name: cost_of(_outputs(suite)) for name, suite in suites.items()},
        depth=first.depth,
        price_per_hour=price_per_hour,
        results=results,
    )


def _path_of(model: str) -> Path:
    """Absolute for a directory; a hub id as it is."""
    path = Path(model).expanduser()
    return path.resolve() if path.is_dir() else path


def _outputs(suite: Suite) -> Sequence[Path]:
    return [Path(settings.output) for _, settings in suite.jobs]
