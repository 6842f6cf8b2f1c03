"""What a trained checkpoint keeps of the model that it began as."""

import json
from pathlib import Path

import torch

from cluster.training.results.output import collect_model, save_model
from cluster.training.student import load_student
from reranker.training.settings import LoraSettings, StudentSettings
from tests.checkpoints import write_llama


def test_chat_model_trained_with_adapters_becomes_a_plain_reranker(tmp_path: Path) -> None:
    write_llama(tmp_path / "chat")
    settings = StudentSettings(model=str(tmp_path / "chat"), max_pair_tokens=64, lora=LoraSettings(rank=2))
    student, _, tokenizer = load_student(settings, seed=0)
    tokenizer.chat_template = "{{ messages }}"
    module, weights = collect_model(student, torch.bfloat16)
    save_model(tmp_path / "model", module, weights, tokenizer, torch.bfloat16)
    assert not list((tmp_path / "model").glob("*.jinja"))
    assert "chat_template" not in json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert not [name for name in weights if "lora" in name]
