"""Checkpoints that are damaged, or no rerankers, or not what their name says: refused with a line, or read rightly.

Every one of them once gave a score that was silently wrong, a traceback, or a line that misled.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reranker import Reranker
from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.files import from_anywhere, locate
from reranker.checkpoints.recipes import known_for
from reranker.checkpoints.resolve import resolve
from reranker.errors import CheckpointError
from reranker.fidelity import load_verified
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import rewrite_json, write_bert, write_language_model, write_llama, write_lora

Tensors = dict[str, torch.Tensor]
NESTED = "[" * 200_000
TWO_MODULES = [
    {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"path": "1_LogitScore", "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"},
]


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("qwen3") / "qwen3")


def refused(directory: Path, **settings: Any) -> str:
    """What both forwards say, which is the same."""
    said = set()
    for forward in ("auto", "huggingface"):
        with pytest.raises(CheckpointError) as error:
            load_verified(
                CheckpointSettings(model=str(directory), **settings),
                EngineSettings.model_validate({"forward": forward}),
            )
        said.add(str(error.value))
    [message] = said
    assert "\n" not in message
    return message


def changed(directory: Path, change: Callable[[Tensors], None], file: str = "model.safetensors") -> None:
    tensors = load_file(directory / file)
    change(tensors)
    save_file(tensors, directory / file, metadata={"format": "pt"})


def coded(dtype: torch.dtype) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        name = "model.layers.1.mlp.up_proj.weight"
        tensors[name] = (tensors[name] * 20).round().to(dtype)

    return change


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.complex64])
def test_quantized_weights_are_not_taken_for_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    changed(write_llama(tmp_path / "model"), coded(dtype), "model.safetensors")
    assert "has quantized weights (model.layers.1.mlp.up_proj.weight is" in refused(tmp_path / "model")


@pytest.mark.parametrize("config", [{"quant_method": "modelopt", "quant_algo": "FP8"}, {"quant_method": "other"}])
def test_quantization_that_transformers_would_ignore_is_refused(config: dict[str, str], tmp_path: Path) -> None:
    rewrite_json(write_llama(tmp_path / "model") / "config.json", quantization_config=config)
    assert "which transformers cannot read" in refused(tmp_path / "model")


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_layers_that_the_config_does_not_count_are_refused(family: str, tmp_path: Path) -> None:
    write = {"llama": write_llama, "bert": write_bert, "t5": lambda path: write_language_model(path, "t5")}[family]
    directory = write(tmp_path / "model")
    keys = {"num_layers": 1, "num_decoder_layers": 1} if family == "t5" else {"num_hidden_layers": 2}
    rewrite_json(directory / "config.json", **keys)
    (tmp_path / "t5.yaml").write_text(
        '{template: {pieces: ["{query} {document}"], special_tokens: single}, max_pair_tokens: 96, '
        "score: {kind: first_decoded, tokens: {y: 1}}}"
    )
    said = refused(directory, **({"recipe": str(tmp_path / "t5.yaml")} if family == "t5" else {}))
    assert "has weights that its config has no place for" in said


def test_bias_that_the_config_does_not_know_is_refused(tmp_path: Path) -> None:
    directory = write_llama(tmp_path / "model")
    changed(directory, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}))
    assert "no place for (model.layers.0.self_attn.q_proj.bias)" in refused(directory)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.0.self_attn.rotary_emb.cos_cached",
        "mtp.layers.0.mlp.up_proj.weight",
        "lm_head.weight",
    ],
)
def test_tensors_that_no_score_depends_on_are_left_out(name: str, tmp_path: Path) -> None:
    directory = write_llama(tmp_path / "model")
    expected = Reranker(str(directory), device="cpu").score("q", ["a text"])
    changed(directory, lambda tensors: tensors.update({name: torch.ones(4)}))
    assert Reranker(str(directory), device="cpu").score("q", ["a text"]).tolist() == expected.tolist()


def rename(tensors: Tensors) -> None:
    for name in list(tensors):
        tensors[name.replace(".model.layers.", ".layers.")] = tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (rename, "has no place in its base model for layers.0"),
        (lambda tensors: tensors.pop(next(name for name in tensors if "lora_B" in name)), "is an adapter that lacks"),
        (lambda tensors: tensors.update({"base_model.model.model.layers.9.x.lora_A.weight": torch.ones(4, 64)}),
         "has no place in its base model for model.layers.9"),
    ],
)  # fmt: skip
def test_adapter_that_would_not_be_applied_whole_is_refused(
    change: Callable[[Tensors], None], problem: str, llama: Path, tmp_path: Path
) -> None:
    directory = write_lora(tmp_path / "adapter", llama)
    changed(directory, change, "adapter_model.safetensors")
    assert problem in refused(directory)


@pytest.mark.parametrize("content", [NESTED, b"\xff\xfe", "", "[1, 2]"])
@pytest.mark.parametrize(
    "name",
    [
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "modules.json",
        "model.safetensors.index.json",
    ],
)
def test_damaged_file_is_not_taken_for_an_absent_one(name: str, content: str | bytes, tmp_path: Path) -> None:
    directory = write_bert(tmp_path / "model")
    (directory / "model.safetensors").rename(directory / "model-1.safetensors")
    if name != "model.safetensors.index.json":
        (directory / "model-1.safetensors").rename(directory / "model.safetensors")
    (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refused(directory)
    assert name in said
    assert "own file again" in said


@pytest.mark.parametrize(
    ("score", "chat", "problem"),
    [
        ({"true_token_id": 30, "false_token_id": "40"}, "", "must have a vocabulary id"),
        ({"true_token_id": 30, "false_token_id": 30}, "", "must have a vocabulary id"),
        ({"true_token_id": True}, "", "must have a vocabulary id"),
        ({}, "", "must have a vocabulary id"),
        ({"true_token_id": 30}, "{% for %}", "chat template of model cannot be loaded"),
        ({"true_token_id": 30}, "{{ raise_exception('no roles') }}", "no roles"),
    ],
)
def test_score_of_modules_that_is_not_told_whole_is_refused(
    score: dict[str, object], chat: str, problem: str, qwen3: Path, tmp_path: Path
) -> None:
    directory = logit_score(
        qwen3, tmp_path / "model", score, chat or "{{ messages[0].content + messages[1].content }}"
    )
    assert problem in refused(directory)


def logit_score(model: Path, directory: Path, score: dict[str, object], chat: str) -> Path:
    shutil.copytree(model, directory)
    (directory / "modules.json").write_text(json.dumps(TWO_MODULES))
    (directory / "1_LogitScore").mkdir()
    (directory / "1_LogitScore" / "config.json").write_text(json.dumps(score))
    (directory / "chat_template.jinja").write_text(chat)
    return directory


QWEN3_CHAT = (
    "{% set task = messages[0].content if messages[0].role == 'system' else 'Given a web search query, retrieve "
    "relevant passages that answer the query' %}<|im_start|>system\nJudge whether the Document meets the "
    'requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".'
    "<|im_end|>\n<|im_start|>user\n<Instruct>: {{ task }}\n<Query>: {{ messages[-2].content }}\n"
    "<Document>: {{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n{{ '' }}"
)


@pytest.mark.parametrize(
    ("name", "chat", "yes", "length", "weight"),
    [
        ("Qwen3-Reranker-0.6B", QWEN3_CHAT, "yes", 8192, 1),
        ("zerank-2", "<{{ messages[0].content }}|{{ messages[1].content }}>", "Yes", 8192, 0.2),
        ("mine", "<{{ messages[0].content }}|{{ messages[1].content }}>", "Yes", 8192, 1),
    ],
)
def test_known_model_with_its_own_modules_keeps_its_length_and_factor(
    name: str, chat: str, yes: str, length: int, weight: float, tmp_path: Path
) -> None:
    """Neither is in the files, and 512 tokens would be assumed."""
    base = write_language_model(tmp_path / "base", vocab_size=410, max_position_embeddings=8192)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens([*("<|im_start|>", "<|im_end|>"), "yes", "no", "Yes"])
    tokenizer.model_max_length = 10_000
    tokenizer.save_pretrained(base)
    ids = {word: tokenizer(word).input_ids[0] for word in ("yes", "no", "Yes")}
    score = {"true_token_id": ids[yes], "false_token_id": ids["no"] if yes == "yes" else None}
    directory = logit_score(base, tmp_path / name, score, chat)
    loaded = load_verified(CheckpointSettings(model=str(directory)), EngineSettings())
    assert loaded.encoder.max_pair_tokens == length
    assert loaded.encoder.token_weights[ids[yes]] == weight
    if name.startswith("Qwen3"):
        assert loaded.description.recipe == "qwen3-reranker, from known recipe qwen3-reranker"


def test_directory_with_the_name_of_another_model_is_not_that_model(tmp_path: Path) -> None:
    settings = CheckpointSettings(model=str(write_bert(tmp_path / "monot5-base-msmarco")))
    assert resolve(settings, locate(settings, weights=False)).assumed
    assert known_for("x/Qwen3-Reranker-0.6B", architecture="Qwen3ForSequenceClassification") is not None
    assert known_for("x/Qwen3-Reranker-0.6B", architecture="BertForSequenceClassification") is None


def test_model_is_known_behind_a_link_and_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    cached = tmp_path / "models--BAAI--bge-reranker-base" / "snapshots" / "5f32"
    write_bert(cached)
    rewrite_json(cached / "config.json", architectures=["XLMRobertaForSequenceClassification"])
    (tmp_path / "current").symlink_to(cached)
    (tmp_path / "ms-marco-MiniLM-L6-v2").symlink_to(write_bert(tmp_path / "blob"))
    for given, name in ((cached, "bge-reranker"), (tmp_path / "current", "bge-reranker")):
        settings = CheckpointSettings(model=str(given))
        assert resolve(settings, locate(settings, weights=False)).recipe.name == name
    settings = from_anywhere(CheckpointSettings(model=str(tmp_path / "ms-marco-MiniLM-L6-v2")))
    assert resolve(settings, locate(settings, weights=False)).recipe.name == "ms-marco-minilm"
    (tmp_path / "stable").symlink_to(tmp_path / "blob")
    assert from_anywhere(CheckpointSettings(model=str(tmp_path / "stable"))).model == str(tmp_path / "blob")


def classifier(model: Path, directory: Path) -> Path:
    module = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    module.save_pretrained(directory)
    AutoTokenizer.from_pretrained(model).save_pretrained(directory)
    return directory


def test_pair_of_texts_with_nothing_between_them_is_not_assumed(qwen3: Path, tmp_path: Path) -> None:
    directory = classifier(qwen3, tmp_path / "some-reranker-seq-cls")
    assert "puts nothing between query and document" in refused(directory)
    load_verified(CheckpointSettings(model=str(directory), template="bare"), EngineSettings())


def test_classifier_made_of_a_model_whose_score_has_a_factor_is_refused(qwen3: Path, tmp_path: Path) -> None:
    assert "multiple of a token's logit" in refused(classifier(qwen3, tmp_path / "zerank-1-small"))


def test_python_of_its_own_is_not_replaced_by_a_model_of_the_same_type(tmp_path: Path) -> None:
    directory = write_llama(tmp_path / "model")
    rewrite_json(directory / "config.json", auto_map={"AutoModel": "mine.LlamaEncoderModel"})
    assert "ships Python of its own for its model (mine.LlamaEncoderModel)" in refused(directory)
    load_verified(CheckpointSettings(model=str(directory), template="dear"), EngineSettings())


@pytest.mark.parametrize("lost", ["added", "embedding"])
def test_template_whose_special_tokens_the_tokenizer_lacks_is_refused(lost: str, tmp_path: Path) -> None:
    directory = write_language_model(tmp_path / "model", vocab_size=400)
    if lost == "embedding":  # the tokenizer has them, the model does not
        tokenizer = AutoTokenizer.from_pretrained(directory)
        tokenizer.add_tokens(["<|im_start|>"], special_tokens=True)
        tokenizer.save_pretrained(directory)
    (tmp_path / "r.yaml").write_text(
        '{template: {pieces: ["<|im_start|>{query}", "{document}"], special_tokens: none}, max_pair_tokens: 96, '
        "score: {tokens: {y: 1}}}"
    )
    assert "spells <|im_start|>, which is no token" in refused(directory, recipe=str(tmp_path / "r.yaml"))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"model.gguf": ""}, ".gguf is not read"),
        ({"config.json": {"num_attention_heads": 0}}, "a model has at least 1"),
        ({"config.json": {"num_hidden_layers": 0}}, "a model has at least 1"),
        (
            {"config.json": {"architectures": ["BertModel"], "id2label": None, "label2id": None}},
            "embedding model reads",
        ),
        ({"tokenizer_config.json": {"model_max_length": "big"}}, "set a number"),
        (
            {
                "modules.json": [{"type": "x.Transformer"}, {"type": "x.Pooling"}, {"type": "x.Normalize"}],
                "config.json": {},
            },
            "it is a bi-encoder",
        ),
    ],
)
def test_what_is_no_reranker_is_refused_with_the_reason(files: dict[str, Any], problem: str, tmp_path: Path) -> None:
    directory = write_bert(tmp_path / "model")
    if "model.gguf" in files:
        (directory / "config.json").unlink()
    for name, content in files.items():
        if isinstance(content, dict):
            rewrite_json(directory / name, **content)
        else:
            (directory / name).write_text(json.dumps(content))
    assert problem in refused(directory)


def test_name_that_is_no_model_says_what_to_give_instead(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("GGUF")
    assert "is a file: name the directory" in refused(tmp_path / "model.gguf")
    with pytest.raises(CheckpointError, match=r"name the model Qwen/Qwen3-Reranker-0\.6B, and v1 as its revision"):
        locate(CheckpointSettings(model="Qwen/Qwen3-Reranker-0.6B@v1"), weights=False)


@pytest.mark.parametrize("pooling", ["cls", "last", None])
def test_bidirectional_llama_that_pools_otherwise_is_refused(pooling: str | None, tmp_path: Path) -> None:
    directory = write_llama(tmp_path / "model")
    rewrite_json(directory / "config.json", model_type="llama_bidirec", pooling=pooling)
    assert "only avg is known" in refused(directory, max_pair_tokens=100)


def test_embedding_model_of_that_architecture_is_refused(tmp_path: Path) -> None:
    directory = write_llama(tmp_path / "model")
    rewrite_json(directory / "config.json", model_type="llama_bidirec", architectures=["LlamaBidirectionalModel"])
    changed(directory, lambda tensors: tensors.pop("score.weight"))
    with pytest.raises(CheckpointError, match="lacks weights its config requires"):
        load_verified(CheckpointSettings(model=str(directory), max_pair_tokens=100), EngineSettings())


@pytest.mark.parametrize(
    ("content", "length"),
    [
        ({"max_seq_length": 64}, 64),
        ({"max_seq_length": 64, "processing_kwargs": {"text": {"max_length": 32}}}, 32),
        ({"max_seq_length": 9999}, 512),
        ({"max_seq_length": None, "processing_kwargs": {"text": True}}, 512),
    ],
)
def test_length_of_sentence_transformers_is_kept(content: dict[str, Any], length: int, tmp_path: Path) -> None:
    directory = write_bert(tmp_path / "model")
    (directory / "sentence_bert_config.json").write_text(json.dumps(content))
    assert load_encoder(CheckpointSettings(model=str(directory))).max_pair_tokens == length
