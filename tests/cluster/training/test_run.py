"""Whole runs in this process: what they write, resuming, and outputs that are refused."""

import contextlib
import csv
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from cluster.locks import locked
from cluster.training.local import LocalWorker
from cluster.training.loop import run
from cluster.training.results.output import CurveRow
from cluster.training.results.progress import RunProgress
from cluster.training.run import opened, train
from cluster.training.settings import RunSettings
from reranker import Reranker
from reranker.checkpoints.manifest import read_manifest
from reranker.errors import CannotWrite, InvalidFile, JobRefused, TrainingFailed
from reranker.prompt import DEAR

QUIET = Console(quiet=True)


def settings_of(config: dict[str, Any], **changes: Any) -> RunSettings:
    return RunSettings.model_validate(config | changes)


class KilledWorker(LocalWorker):
    """Ends the process, as far as the run can tell, after a step."""

    def __init__(self, settings: RunSettings, after: int) -> None:
        super().__init__(settings, RunProgress(QUIET))
        self._after = after

    def report(self, row: CurveRow, save: Callable[[Path], None] | None) -> None:
        super().report(row, save)
        if row.step == self._after:
            raise KeyboardInterrupt


def curve(output: Path) -> list[dict[str, str]]:
    """The rows without what depends on the clock."""
    with (output / "curve.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in ("minutes", "tokens_per_s")}
            for row in csv.DictReader(file)
        ]


def weights(output: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(output / "model" / "model.safetensors")
    return found


def test_run_writes_a_checkpoint_that_can_be_served_and_says_what_made_it(run_config: dict[str, Any]) -> None:
    settings = settings_of(run_config)
    summary = train(settings, QUIET)
    output = Path(settings.output)
    assert summary["steps"] == 8
    assert summary["best_step"] in (4, 8)
    assert (output / "curve.png").stat().st_size > 1000
    assert [row["step"] for row in curve(output)] == [str(step) for step in range(1, 9)]
    assert [bool(row["ndcg"]) for row in curve(output)] == [step in (4, 8) for step in range(1, 9)]
    manifest = read_manifest(output / "model")
    assert manifest is not None
    assert (manifest.recipe.template, manifest.max_pair_tokens) == (DEAR, 64)
    assert manifest.golden
    config = json.loads((output / "model" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert {value.dtype for value in weights(output).values()} == {torch.bfloat16}
    card = (output / "model" / "README.md").read_text()
    assert f"nDCG@10 {summary['ndcg']:.4f} on `tides`" in card
    assert "| corpus.jsonl | `" in card
    assert len(Reranker(str(output / "model")).rank("tide", ["High tide.", "Bread."])) == 2


def test_resumed_run_equals_an_undisturbed_one(run_config: dict[str, Any], tmp_path: Path) -> None:
    undisturbed = settings_of(run_config, output=str(tmp_path / "undisturbed"))
    train(undisturbed, QUIET)
    settings = settings_of(run_config).absolute()
    with pytest.raises(KeyboardInterrupt), opened(settings, resume=False):
        run(settings, KilledWorker(settings, after=5))
    with pytest.raises(JobRefused, match="holds an unfinished run: continue it with --resume"):
        train(settings, QUIET)
    train(settings, QUIET, resume=True)
    first, second = Path(undisturbed.output), Path(settings.output)
    assert curve(first) == curve(second)
    assert all(torch.equal(weights(second)[name], value) for name, value in weights(first).items())
    with pytest.raises(JobRefused, match="holds a finished run: choose another output"):
        train(settings, QUIET)
    assert train(settings, QUIET, resume=True)["steps"] == 8, "a finished run has nothing left to do"


def test_resuming_with_other_settings_is_refused(run_config: dict[str, Any]) -> None:
    settings = settings_of(run_config)
    with opened(settings, resume=False):
        pass
    changed = settings.model_copy(update={"step": settings.step.model_copy(update={"seed": 1})})
    with pytest.raises(JobRefused, match=r"step\.seed 0 \(now 1\)"):
        train(changed, QUIET, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_output_in_use_or_of_something_else_is_refused(run_config: dict[str, Any], resume: bool) -> None:
    settings = settings_of(run_config)
    output = Path(settings.output)
    output.mkdir()
    with locked(output / ".lock"), pytest.raises(JobRefused, match="is in use by another process"):
        train(settings, QUIET, resume=resume)
    (output / "notes.txt").write_text("mine")
    with pytest.raises(JobRefused, match="is not empty and holds no run"):
        train(settings, QUIET, resume=resume)
    output = output.with_name("file")
    output.write_text("")
    with pytest.raises(InvalidFile, match="is not a directory"):
        train(settings_of(run_config, output=str(output)), QUIET, resume=resume)


@pytest.mark.parametrize("held", [True, False])
def test_run_whose_loss_is_not_finite_keeps_the_last_good_weights(run_config: dict[str, Any], held: bool) -> None:
    run_config["step"] |= {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}
    run_config["evaluation"] = run_config["evaluation"] | {"every_steps": 1} if held else {}
    settings = settings_of(run_config)
    with pytest.raises(TrainingFailed, match=r"step \d: the loss is nan.* are in .*model") as caught:
        train(settings, QUIET)
    assert ("best weights" in str(caught.value)) == held
    assert weights(Path(settings.output))


@contextlib.contextmanager
def no_space_for(size: int) -> Iterator[None]:
    """Files can grow to `size` bytes only, as on a disk with no more left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("file", "every"), [("state.pt", 3), ("model", 100)])
def test_run_without_space_for_its_weights_is_resumed_when_there_is(
    run_config: dict[str, Any], file: str, every: int
) -> None:
    settings = settings_of(run_config, checkpoint_every_steps=every)
    with (
        no_space_for(30_000),
        pytest.raises(CannotWrite, match=f"{file} cannot be written, perhaps for want of space"),
    ):
        train(settings, QUIET)
    assert train(settings, QUIET, resume=True)["steps"] == 8


def test_patience_ends_a_run_that_does_not_improve(run_config: dict[str, Any]) -> None:
    run_config["step"] |= {"learning_rate": 1e-30}
    run_config["evaluation"] |= {"every_steps": 1, "patience": 2}
    assert train(settings_of(run_config), QUIET)["steps"] == 3
