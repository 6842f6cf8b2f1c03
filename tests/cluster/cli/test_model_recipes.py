"""`reranker model list` and `reranker model show`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli.model import model

run = CliRunner().invoke


def test_every_known_recipe_is_listed() -> None:
    listed = run(model, ["list"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    assert "Qwen/Qwen3-Reranker-0.6B" in listed.output
    assert "needs code of its own" in listed.output
    entries = json.loads(run(model, ["list", "--json"]).output)
    assert {"qwen3-reranker", "monot5", "dear"} <= {entry["name"] for entry in entries}


def test_known_hub_id_is_shown_without_a_download() -> None:
    shown = run(model, ["show", "Qwen/Qwen3-Reranker-4B"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "'yes'" in shown.output
    assert "huggingface.co/Qwen" in shown.output
    assert json.loads(run(model, ["show", "Qwen/Qwen3-Reranker-4B", "--json"]).output)["licence"] == "Apache-2.0"
    assert "runs only with Python" in run(model, ["show", "jinaai/jina-reranker-v3"]).output


def test_checkpoint_is_shown_with_who_says_what(bert: Path) -> None:
    shown = run(model, ["show", str(bert), "--max-pair-tokens", "100"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "assumed" in shown.output
    assert "settings" in shown.output
    assert "the fast one" in shown.output
    about = json.loads(run(model, ["show", str(bert), "--json"]).output)
    assert about["recipe"]["max_pair_tokens"] == 512
    assert about["origins"]["template"] == "assumed"
    assert about["no_fast_forward"] is None


@pytest.mark.parametrize("arguments", [["show", "no/such/model/here"], ["show", "embedded", "--recipe", "nothing"]])
def test_what_cannot_be_shown_is_an_error(arguments: list[str]) -> None:
    failed = run(model, arguments)
    assert failed.exit_code != 0
    assert failed.exception is not None
