"""Prompts and chat templates that a checkpoint carries are named in one warning, in the log and for `/health`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reranker.checkpoints.prompts import prompts_warning
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import rewrite_json

TEXT = "Given a web search query, find passages that answer it. "


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        (
            "config_sentence_transformers.json",
            {"prompts": {"web": TEXT, "code": "Find code. "}, "default_prompt_name": "web"},
            ["default prompt 'web' of config_sentence_transformers.json", "prompt 'code' of"],
        ),
        ("config_sentence_transformers.json", {"prompts": {"query": "", "document": ""}}, []),
        ("config_sentence_transformers.json", {"prompts": None, "default_prompt_name": None}, []),
        ("config.json", {"sentence_transformers": {"prompts": {"web": TEXT}}}, ["prompt 'web' of config.json"]),
        ("tokenizer_config.json", {"chat_template": "{{ messages }}"}, ["chat template of tokenizer_config.json"]),
        (
            "tokenizer_config.json",
            {"chat_template": [{"name": "default", "template": "{{ messages }}"}]},
            ["chat template of tokenizer_config.json"],
        ),
        ("tokenizer_config.json", {"chat_template": None}, []),
        ("chat_template.json", {"chat_template": "{{ messages }}"}, ["chat template of chat_template.json"]),
        ("chat_template.jinja", "{{ messages }}", ["chat template chat_template.jinja"]),
        ("chat_template.jinja", "", []),
        ("additional_chat_templates/rag.jinja", "{{ messages }}", ["chat template additional_chat_templates/rag"]),
    ],
)
def test_what_is_not_applied_is_named(file: str, content: Any, named: list[str], tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    warning = prompts_warning(tmp_path)
    assert (warning is not None) == bool(named)
    assert all(name in str(warning) for name in named)


@pytest.mark.parametrize("where", ["adapter", "base"])
def test_prompts_are_one_warning_in_log_and_description(
    where: str, lora: Path, llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {"adapter": Path(shutil.copytree(lora, tmp_path / "a")), "base": shutil.copytree(llama, tmp_path / "b")}
    rewrite_json(parts["adapter"] / "adapter_config.json", base_model_name_or_path=str(parts["base"]))
    (parts[where] / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"web": TEXT}}))
    (parts[where] / "chat_template.jinja").write_text("{{ messages }}")
    loaded = load_verified(CheckpointSettings(model=str(parts["adapter"]), template="bare"), EngineSettings())
    [warning] = [text for text in loaded.description.warnings if "not applied" in text]
    assert "prompt 'web'" in warning
    assert "chat_template.jinja" in warning
    assert [record.getMessage() for record in caplog.records if "not applied" in record.getMessage()] == [
        f"a: {warning}"
    ]


def test_checkpoint_without_prompts_has_no_warning(family: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = CheckpointSettings(model=str(family), template="bare", max_pair_tokens=100)
    assert load_verified(settings, EngineSettings()).description.warnings == ()
    assert not caplog.records
