"""Session-wide checkpoints of both families, and hypothesis profiles."""

import os
from pathlib import Path

# Waiting threads must not spin: tests run in parallel, and their matrices are tiny. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import settings

from tests.checkpoints import write_bert, write_llama, write_lora

settings.register_profile("default", deadline=None, max_examples=60)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama") / "llama")


@pytest.fixture(scope="session")
def padded_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose pad token is its end-of-text token, which a passage may contain."""
    return write_llama(tmp_path_factory.mktemp("padded") / "padded-llama", pad_is_eos=True, seed=1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert")


@pytest.fixture(scope="session")
def modernbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its second of three layers attends to 16 tokens on each side; its tokenizer returns no token types."""
    keys = {"global_attn_every_n_layers": 2, "local_attention": 32, "token_types": False}
    return write_bert(tmp_path_factory.mktemp("modernbert") / "modernbert", architecture="modernbert", **keys)


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Path:
    return write_lora(tmp_path_factory.mktemp("lora") / "lora", llama)


@pytest.fixture(params=["bert", "llama"])
def family(request: pytest.FixtureRequest) -> Path:
    """Each of the two families in turn."""
    path: Path = request.getfixturevalue(request.param)
    return path
