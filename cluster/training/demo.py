"""`reranker train demo`: from a small collection to a reranker that was trained on it, in miniature."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cluster.sample import CORPUS, QRELS, QUERIES, RUN
from cluster.training.data.making import DataSettings, make_training_set
from cluster.training.results.output import MODEL
from cluster.training.run import train
from cluster.training.settings import RunSettings
from reranker import Reranker
from reranker.ir.measures import evaluate
from reranker.ir.qrels import Qrels, read_qrels
from reranker.ir.runs import read_run
from reranker.ir.texts import iter_passages, read_queries
from reranker.types import Passage

STEPS = 20
_HELD = 3  # every third query is not trained on


@dataclass(frozen=True, slots=True)
class DemoResult:
    """nDCG@10 of the first stage, the model before, and the model after, over the held queries."""

    first_stage: float
    before: float
    after: float
    model: Path


def run_demo(console: Console, output: Path, *, model: str = "embedded", steps: int = STEPS) -> DemoResult:
    """Train on two thirds of the sample's queries and measure on the others. Raises as `train`."""
    queries, qrels, run = read_queries(QUERIES), read_qrels(QRELS), read_run(RUN)
    judged = [query_id for query_id in queries if query_id in qrels and query_id in run]
    held = judged[::_HELD]
    console.rule("1. a training set from queries, passages and judgements")
    work = output / "work"
    work.mkdir(parents=True, exist_ok=True)
    _write_queries(work / "queries.jsonl", {query: queries[query] for query in judged if query not in held})
    settings = DataSettings(queries=work / "queries.jsonl", corpus=CORPUS, qrels=QRELS, run=RUN, licence="Apache-2.0")
    about = make_training_set(settings, output / "data")
    console.print(f"{about['queries']} queries, {about['candidates']} candidates; {len(held)} queries are held back")
    console.rule("2. training")
    config = RunSettings.model_validate(
        {
            "data": str(output / "data"),
            "output": str(output / "run"),
            "local": True,
            "student": {"model": model},
            "loss": {"terms": {"ranknet": 1.0}},
            "step": {
                "queries_per_step": 4,
                "negatives": 7,
                "steps": steps,
                "warmup_steps": 2,
                "learning_rate": 2e-5,
                "micro_batch_tokens": 4096,
            },
        }
    )
    summary = train(config, console)
    console.print(f"{summary['steps']} steps in {summary['minutes']:.1f} minutes, last loss {summary['loss']:.3f}")
    console.rule(f"3. nDCG@10 on the {len(held)} held queries")
    passages = {docid: passage for _, docid, passage in iter_passages(CORPUS)}
    texts = {query_id: queries[query_id] for query_id in held}
    trained = output / "run" / MODEL
    first = {query_id: list(run[query_id]) for query_id in held}
    result = DemoResult(
        _ndcg(qrels, first),
        _ndcg(qrels, _reranked(model, config, texts, first, passages)),
        _ndcg(qrels, _reranked(str(trained), config, texts, first, passages)),
        trained,
    )
    console.print(
        f"BM25 {result.first_stage:.3f}   {model} {result.before:.3f}   trained {result.after:.3f}", highlight=False
    )
    console.print(
        f"So few queries show that it works, not how well. The model is in {trained}\n"
        f"serve it:   reranker serve --model {trained}\n"
        f"use it:     reranker rerank --model {trained} -q QUERY FILE\n"
        "train yours: docs/training.md",
        markup=False,
        highlight=False,
    )
    return result


def _write_queries(path: Path, queries: Mapping[str, str]) -> None:
    lines = [json.dumps({"_id": query_id, "text": text}) + "\n" for query_id, text in queries.items()]
    path.write_text("".join(lines))


def _reranked(
    model: str,
    settings: RunSettings,
    queries: Mapping[str, str],
    candidates: Mapping[str, Sequence[str]],
    passages: Mapping[str, Passage],
) -> dict[str, list[str]]:
    reranker = Reranker(model, template=settings.student.template, max_pair_tokens=settings.student.max_pair_tokens)
    ranked = {}
    for query_id, query in queries.items():
        docids = candidates[query_id]
        found = [passages[docid] for docid in docids]
        hits = reranker.rank(query, [{"title": passage.title, "text": passage.text} for passage in found])
        ranked[query_id] = [docids[hit.index] for hit in hits]
    return ranked


def _ndcg(qrels: Qrels, run: dict[str, list[str]]) -> float:
    held = {query_id: qrels[query_id] for query_id in run}
    return evaluate(held, run).aggregate["nDCG@10"]
