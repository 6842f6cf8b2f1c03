"""`reranker train data` and `reranker train teacher`: what a run learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.batch.settings import BatchSettings
from cluster.cli.options import MODEL_FIELDS, MODEL_PANEL, options_of
from reranker.errors import InvalidField

_COLLECTION = "A collection instead of --pairs"


def data(
    output: Annotated[Path, typer.Argument(help="Output directory; it must be empty or not exist yet.")],
    pairs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Table of query and positive, and optionally negatives (a list) and query_id; or a directory of "
            "them. May be repeated."
        ),
    ] = None,
    max_per_file: Annotated[int | None, typer.Option(help="Max rows read of each file of pairs.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Queries.", rich_help_panel=_COLLECTION)] = None,
    corpus: Annotated[Path | None, typer.Option(help="Passages.", rich_help_panel=_COLLECTION)] = None,
    qrels: Annotated[Path | None, typer.Option(help="Relevance judgements.", rich_help_panel=_COLLECTION)] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="TREC run that gives the negatives; by default BM25 does.", rich_help_panel=_COLLECTION),
    ] = None,
    negatives_depth: Annotated[int, typer.Option(help="Negatives per query, from the first stage's top.")] = 30,
    random_negatives: Annotated[int, typer.Option(help="Negatives per query at random, beside BM25's.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random negatives.")] = 0,
    licence: Annotated[str | None, typer.Option(help="Licence of the data, for the model card.")] = None,
) -> None:
    """Make a training set: each query with its positives and hard negatives.

    Writes OUTPUT/corpus.parquet, OUTPUT/groups.parquet, and last OUTPUT/data.json, which says what it was made from.

    Example: `reranker train data sets/mine --queries queries.jsonl --corpus corpus.jsonl --qrels clicks.tsv`
    """
    from rich.console import Console

    from cluster.training.data.making import DataSettings, make_training_set

    settings = DataSettings(
        pairs=tuple(pairs or ()),
        max_per_file=max_per_file,
        queries=queries,
        corpus=corpus,
        qrels=qrels,
        run=run,
        negatives_depth=negatives_depth,
        random_negatives=random_negatives,
        seed=seed,
        licence=licence,
    )
    console = Console(stderr=True)
    with console.status("reading …") as status:
        about = make_training_set(settings, output, lambda line: status.update(f"{line} …"))
    console.print(
        f"{output}: {about['queries']:,} queries ({about['usable_queries']:,} with a positive and a negative), "
        f"{about['candidates']:,} candidates of {about['passages']:,} passages",
        markup=False,
        highlight=False,
    )


@options_of(
    BatchSettings,
    {"Machines": ("scorers", "address"), MODEL_PANEL: [f"checkpoint.{name}" for name in MODEL_FIELDS]},
)
def teacher(
    options: dict[str, Any],
    directory: Annotated[Path, typer.Argument(metavar="DATA", help="Directory that `reranker train data` wrote.")],
    name: Annotated[str, typer.Option(help="Name under which a run's `teacher.weights` finds the scores.")],
    bi_encoder: Annotated[
        str | None,
        typer.Option(help="Score by the cosine of this sentence-transformers model instead of --model."),
    ] = None,
) -> None:
    """Score every candidate of a training set with a teacher, once.

    Writes DATA/teacher-NAME.parquet (query_id, docid, score), which also says which checkpoint and template made it.
    A cross-encoder scores as a batch job does; given again after an interruption, the command resumes it.

    Example: `reranker train teacher sets/mine --name minilm --model cross-encoder/ms-marco-MiniLM-L6-v2`
    """
    from rich.console import Console

    from cluster.training.data.training_set import read_training_set
    from cluster.training.teachers.scores import teacher_path, write_teacher

    console = Console(stderr=True)
    path = teacher_path(directory, name)
    read = read_training_set(directory)
    if path.exists():
        raise InvalidField("--name", f"{path} exists: choose another name, or remove it")
    if bi_encoder is not None:
        from cluster.training.teachers.bi_encoder import about_bi_encoder, bi_encoder_scores, load_bi_encoder

        device = options["checkpoint"]["device"]
        with console.status(f"loading {bi_encoder} …") as status:
            encoder = load_bi_encoder(bi_encoder, None if device == "auto" else device)
            about = about_bi_encoder(bi_encoder)
            scores = bi_encoder_scores(read, encoder, status.update)
    else:
        from cluster.training.teachers.cross_encoder import cross_encoder_scores

        scores, about = cross_encoder_scores(read, directory / f".teacher-{name}", options, console)
    write_teacher(path, read, scores, about)
    console.print(f"{path}: {len(scores):,} candidates scored by {about['model']}", markup=False, highlight=False)
