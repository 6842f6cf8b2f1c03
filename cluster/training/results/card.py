"""The model card of a trained checkpoint, written from its run."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
import yaml

from cluster.training.data.training_set import DATA
from cluster.training.settings import RunSettings
from reranker.files import write_atomically
from reranker.version import __version__


def write_card(directory: Path, settings: RunSettings, summary: dict[str, Any]) -> None:
    """Write README.md into a checkpoint directory. summary: see `train`."""
    about = json.loads((Path(settings.data) / DATA).read_text())
    write_atomically(directory / "README.md", "\n".join(_lines(directory, settings, summary, about)) + "\n")


def _lines(directory: Path, settings: RunSettings, summary: dict[str, Any], about: dict[str, Any]) -> list[str]:
    student, step = settings.student, settings.step
    pretrained = Path(student.model).name
    measured = summary["ndcg"] is not None
    held = Path(settings.evaluation.collection).name if settings.evaluation.collection else ""
    return [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-ranking",
        f"base_model: {pretrained}",
        "---",
        "",
        f"# {directory.parent.name}",
        "",
        f"A cross-encoder that reranks passages, trained from `{pretrained}` by dear-reranker {__version__}.",
        f"Pairs are written with the template `{student.template}`, at most {student.max_pair_tokens} tokens;",
        "`reranker.json` has golden scores, which every replica checks.",
        "",
        "## Measures",
        "",
        f"nDCG@10 {summary['ndcg']:.4f} on `{held}` (first {settings.evaluation.depth} of its first stage, step "
        f"{summary['best_step']}). This collection chose the step, so measure on another one too."
        if measured
        else "None were taken during the run: `reranker evaluate suite` takes them.",
        "",
        "## Data",
        "",
        f"{about.get('queries', 0):,} queries, {about.get('passages', 0):,} passages, "
        f"{about.get('candidates', 0):,} candidates.",
        "",
        "| file | sha256 | licence |",
        "|---|---|---|",
        *_files(about),
        "",
        "## Recipe",
        "",
        "```yaml",
        yaml.safe_dump(
            {
                "student": student.model_dump(mode="json") | {"model": pretrained},
                "loss": settings.loss.model_dump(mode="json"),
                "teacher": settings.teacher.model_dump(mode="json"),
                "step": step.model_dump(mode="json"),
                "dtype": settings.dtype,
            },
            sort_keys=False,
        ).rstrip(),
        "```",
        "",
        "## Time and hardware",
        "",
        f"{summary['steps']:,} steps in {summary['minutes']:.1f} minutes on {summary['workers']} worker(s), "
        f"{_hardware(settings)}.",
    ]


def _files(about: dict[str, Any]) -> list[str]:
    """Rows of the table; a file may have its own licence, or all have one."""
    rows = []
    for name, entry in about.get("files", {}).items():
        known = entry if isinstance(entry, dict) else {"sha256": entry}
        licence = known.get("licence") or about.get("licence") or "not stated"
        rows.append(f"| {name} | `{str(known.get('sha256', ''))[:12]}` | {licence} |")
    return rows


def _hardware(settings: RunSettings) -> str:
    if settings.use_gpu and not settings.local:
        return "a GPU each"
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} thread(s))"
