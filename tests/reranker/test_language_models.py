"""Language models that answer with a token: imported, served and refused, end to end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForSequenceClassification

from reranker import Reranker
from reranker.checkpoints.files import locate
from reranker.checkpoints.resolve import resolve
from reranker.errors import CheckpointError, FidelityError, InvalidField
from reranker.fidelity import load_verified
from reranker.importing import import_checkpoint
from reranker.settings import CheckpointSettings, EngineSettings
from tests.checkpoints import EOS, SAMPLE_TEXTS, rewrite_json, write_language_model, write_llama, write_lora

RECIPE = {
    "template": {
        "pieces": [f"{EOS}judge{EOS}", "<I>: {instruction}\n<Q>: {query}\n<D>: {document}", f"{EOS}\n"],
        "special_tokens": "none",
        "instruction": "find passages",
    },
    "max_pair_tokens": 160,
    "score": {"tokens": {"y": 1, "n": -1}},
}
T5_RECIPE = {
    "template": {"pieces": ["Q: {query} D: {document}", " Relevant:"], "special_tokens": "single"},
    "max_pair_tokens": 96,
    "score": {"kind": "first_decoded", "tokens": {"y": 1, "n": -1}},
}
# Chat templates with a role for each text, as sentence-transformers saves them beside its LogitScore module.
CHAT = (
    "{{ '<|end_of_text|>' }}system\n{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}"
    "find passages{% endif %}\n{% for message in messages %}{% if message.role != 'system' %}<{{ message.role }}>"
    "{{ message.content }}{% endif %}{% endfor %}{{ '<|end_of_text|>' }}"
)


def recipe_file(directory: Path, recipe: object) -> str:
    (directory / "mine.yaml").write_text(yaml.safe_dump(recipe))
    return str(directory / "mine.yaml")


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("qwen3") / "qwen3")


def saved_by_sentence_transformers(model: Path, directory: Path, chat: str = CHAT) -> Path:
    copy = Path(shutil.copytree(model, directory))
    kinds = ("base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore")
    modules = [
        {"idx": n, "name": str(n), "path": "1_LogitScore" if n else "", "type": f"sentence_transformers.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "1_LogitScore").mkdir()
    (copy / "1_LogitScore" / "config.json").write_text(json.dumps({"true_token_id": 30, "false_token_id": 40}))
    (copy / "chat_template.jinja").write_text(chat)
    return copy


@pytest.mark.parametrize(
    ("architecture", "keys", "recipe"),
    [
        ("qwen3", {"tie_word_embeddings": True}, RECIPE),
        ("qwen3", {"tie_word_embeddings": False}, RECIPE),
        ("qwen2", {}, RECIPE),
        ("llama", {}, {**RECIPE, "score": {"tokens": {0: 0.2}}}),
        ("gemma", {"head_dim": 16}, RECIPE),
        ("gemma2", {"final_logit_softcapping": 3.0, "layer_types": ["full_attention"] * 3}, RECIPE),
        ("t5", {}, T5_RECIPE),
    ],
    ids=["qwen3", "qwen3 untied", "qwen2", "llama", "gemma", "gemma2", "t5"],
)
def test_language_model_is_imported_and_served_exactly(
    architecture: str, keys: dict[str, object], recipe: dict[str, object], tmp_path: Path
) -> None:
    """`import` compares our engine with the whole vocabulary's logits, in float32 and bfloat16."""
    model = write_language_model(tmp_path / "model", architecture, **keys)
    settings = CheckpointSettings(model=str(model), recipe=recipe_file(tmp_path, recipe))
    written = import_checkpoint(settings, tmp_path / "imported")
    assert {check.fidelity.split(":")[0] for check in written.checks} == {"verified"}
    ranking = Reranker(str(tmp_path / "imported")).rank("when is high tide", SAMPLE_TEXTS)
    assert len({hit.logit for hit in ranking}) == len(SAMPLE_TEXTS)


def test_score_is_what_the_authors_compute(qwen3: Path, tmp_path: Path) -> None:
    """Written out here once more, from a template's texts to the logits, to be independent of the reference."""
    tokenizer, model = AutoTokenizer.from_pretrained(qwen3), AutoModelForCausalLM.from_pretrained(qwen3).float()
    [yes], [no] = (tokenizer(token, add_special_tokens=False).input_ids for token in ("y", "n"))
    expected = []
    for text in SAMPLE_TEXTS:
        body = f"<I>: find passages\n<Q>: when is high tide\n<D>: {text}"
        ids = tokenizer(f"{EOS}judge{EOS}").input_ids + tokenizer(body).input_ids + tokenizer(f"{EOS}\n").input_ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        expected.append(float(logits[yes] - logits[no]))
    settings = CheckpointSettings(model=str(qwen3), recipe=recipe_file(tmp_path, RECIPE), dtype="float32")
    loaded = load_verified(settings, EngineSettings())
    reranker = Reranker(str(qwen3), recipe=settings.recipe, dtype="float32")
    np.testing.assert_allclose(reranker.score("when is high tide", SAMPLE_TEXTS), expected, atol=1e-4)
    assert loaded.description.fidelity.startswith("unverified")


def bidirectional_llama(directory: Path, **config_keys: object) -> Path:
    """As NVIDIA's rerankers are saved: a Llama classifier under a model type of its own."""
    write_llama(directory)
    rewrite_json(directory / "config.json", model_type="llama_bidirec", auto_map={"AutoConfig": "x.Y"}, **config_keys)
    return directory


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_bidirectional_llama_with_a_mean_is_imported_and_served_exactly(
    temperature: float | None, tmp_path: Path
) -> None:
    model = bidirectional_llama(tmp_path / "model", pooling="avg", temperature=temperature)
    written = import_checkpoint(CheckpointSettings(model=str(model), max_pair_tokens=100), tmp_path / "imported")
    assert written.manifest.recipe.name == "nemotron-rerank"
    for check in written.checks:
        assert check.fidelity.startswith("verified")
        assert not any("no fast forward" in warning for warning in check.warnings)
    causal = LlamaForSequenceClassification.from_pretrained(write_llama(tmp_path / "causal")).float()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "causal")
    ids = torch.tensor([tokenizer(f"question:tide \n \n passage:{SAMPLE_TEXTS[0]}").input_ids])
    with torch.no_grad():
        mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1])  # all tokens attend to all
        hidden = causal.model(ids, attention_mask=mask).last_hidden_state
        expected = causal.score(hidden.mean(1)).item() / (temperature or 1)
    served = Reranker(str(tmp_path / "imported"), dtype="float32").score("tide", SAMPLE_TEXTS[:1])
    np.testing.assert_allclose(served, [expected], atol=1e-4)


def test_bidirectional_llama_is_never_read_as_a_causal_one(tmp_path: Path) -> None:
    model = bidirectional_llama(tmp_path / "model")
    settings = CheckpointSettings(model=str(model), max_pair_tokens=100)
    assert resolve(settings, locate(settings, weights=False)).recipe.attention == "bidirectional"
    with pytest.raises(CheckpointError, match="only the fast forward pools the mean"):
        load_verified(settings, EngineSettings(forward="huggingface"))


def test_request_and_setting_may_bring_an_instruction(qwen3: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, RECIPE)
    default = Reranker(str(qwen3), recipe=recipe)
    other = Reranker(str(qwen3), recipe=recipe, instruction="find answers")
    documents = SAMPLE_TEXTS
    scores, same, asked = (
        reranker.score("when is high tide", documents, instruction=instruction)
        for reranker, instruction in ((default, None), (other, "find passages"), (default, "find answers"))
    )
    np.testing.assert_allclose(scores, same, atol=1e-5)
    np.testing.assert_allclose(asked, other.score("when is high tide", documents), atol=1e-5)
    assert np.abs(scores - asked).max() > 1e-3
    with pytest.raises(InvalidField, match="is not read by this model"):
        Reranker().rank("q", ["d"], instruction="find")


def test_other_default_instruction_leaves_the_golden_scores_valid(qwen3: Path, tmp_path: Path) -> None:
    settings = CheckpointSettings(model=str(qwen3), recipe=recipe_file(tmp_path, RECIPE))
    import_checkpoint(settings, tmp_path / "imported")
    served = CheckpointSettings(model=str(tmp_path / "imported"), instruction="find answers")
    assert load_verified(served, EngineSettings()).description.fidelity.startswith("verified")


def test_wrong_token_is_found_by_the_golden_scores(qwen3: Path, tmp_path: Path) -> None:
    settings = CheckpointSettings(model=str(qwen3), recipe=recipe_file(tmp_path, RECIPE))
    import_checkpoint(settings, tmp_path / "imported")
    manifest = json.loads((tmp_path / "imported" / "reranker.json").read_text())
    manifest["recipe"]["score"]["tokens"] = {"y": 1, "e": -1}
    (tmp_path / "imported" / "reranker.json").write_text(json.dumps(manifest))
    with pytest.raises(FidelityError):
        load_verified(CheckpointSettings(model=str(tmp_path / "imported")), EngineSettings())


def test_directory_of_sentence_transformers_says_itself_how_it_is_asked(qwen3: Path, tmp_path: Path) -> None:
    model = saved_by_sentence_transformers(qwen3, tmp_path / "saved")
    resolved = resolve(settings := CheckpointSettings(model=str(model)), locate(settings, weights=False))
    assert resolved.recipe.score.tokens == {"id:30": 1, "id:40": -1}
    assert resolved.recipe.template.instruction == "find passages"
    assert "chat template" in resolved.origins["template"]
    tokenizer, causal = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model).float()
    expected = []
    for text in SAMPLE_TEXTS:
        roles = [{"role": "query", "content": "tide"}, {"role": "document", "content": text}]
        with torch.no_grad():
            ids = tokenizer.apply_chat_template(roles, return_tensors="pt", return_dict=True).input_ids
            logits = causal(ids).logits[0, -1]
        expected.append(float(logits[30] - logits[40]))
    np.testing.assert_allclose(Reranker(str(model), dtype="float32").score("tide", SAMPLE_TEXTS), expected, atol=1e-4)


@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS"])
def test_adapter_of_a_known_language_model_is_read_as_it_was_trained(task: str, qwen3: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(qwen3, tmp_path / "Qwen3-Reranker-0.6B"))
    adapter = write_lora(tmp_path / "adapter", base, task=task)
    settings = CheckpointSettings(model=str(adapter), max_pair_tokens=300)
    score = resolve(settings, locate(settings, weights=False)).recipe.score
    assert score.kind == ("tokens" if task == "CAUSAL_LM" else "classifier")


def test_adapter_of_a_language_model_is_imported_and_served_exactly(qwen3: Path, tmp_path: Path) -> None:
    adapter = write_lora(tmp_path / "adapter", qwen3, task="CAUSAL_LM")
    settings = CheckpointSettings(model=str(adapter), recipe=recipe_file(tmp_path, RECIPE))
    written = import_checkpoint(settings, tmp_path / "imported")
    assert {check.fidelity.split(":")[0] for check in written.checks} == {"verified"}
    base = Reranker(str(qwen3), recipe=settings.recipe).score("tide", SAMPLE_TEXTS)
    assert np.abs(Reranker(str(tmp_path / "imported")).score("tide", SAMPLE_TEXTS) - base).max() > 0.05
    with pytest.raises(CheckpointError, match="is a language model"):
        load_verified(CheckpointSettings(model=str(adapter)), EngineSettings())


@pytest.mark.parametrize(
    "chat", ["{{ messages[0].content | trim }} {{ messages[1].content }}", "{{ messages[-1].content }}", "fixed"]
)
def test_chat_template_that_loses_a_text_is_refused(chat: str, qwen3: Path, tmp_path: Path) -> None:
    model = saved_by_sentence_transformers(qwen3, tmp_path / "saved", chat)
    with pytest.raises(CheckpointError, match="leaves out or changes"):
        load_verified(CheckpointSettings(model=str(model)), EngineSettings())


def test_language_model_without_a_recipe_is_refused_with_what_to_do(qwen3: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a language model .*says which tokens carry the score"):
        load_verified(CheckpointSettings(model=str(qwen3)), EngineSettings())


def test_known_model_is_known_by_the_name_of_its_directory(qwen3: Path, tmp_path: Path) -> None:
    model = shutil.copytree(qwen3, tmp_path / "Qwen3-Reranker-0.6B")
    resolved = resolve(settings := CheckpointSettings(model=str(model)), locate(settings, weights=False))
    assert resolved.origins["score"] == "known recipe qwen3-reranker"
    assert resolved.recipe.score.tokens == {"yes": 1, "no": -1}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"score": {"tokens": {"relevant": 1}}}, "tokens in its tokenizer: name a text that is one token"),
        ({"score": {"tokens": {99_999: 1}}}, "its model has no token 99999"),
        ({"score": {"tokens": {"y": 1, "id:": 1}}}, "is no vocabulary id"),
        ({"score": {"tokens": {"y": 0}}}, "a token of weight 0"),
        ({"score": {"kind": "tokens"}}, "name the tokens that carry the score"),
        ({"max_pair_tokens": 5_000}, "exceeds the 1024"),
        ({"max_pair_tokens": 16}, "leaves no room for a document"),
        ({"template": {"pieces": ["{query}"], "special_tokens": "none"}}, "the document's text must be in one piece"),
        ({"template": "other"}, "template 'other' is not known"),
        ({"surprise": 1}, "Extra inputs"),
        ({"score": {"kind": "classifier", "tokens": {}}}, "is a Qwen3ForCausalLM"),
    ],
)
def test_recipe_that_does_not_fit_is_refused(
    changes: dict[str, object], problem: str, qwen3: Path, tmp_path: Path
) -> None:
    settings = CheckpointSettings(model=str(qwen3), recipe=recipe_file(tmp_path, RECIPE | changes))
    with pytest.raises(CheckpointError) as refused:
        load_verified(settings, EngineSettings())
    assert problem in str(refused.value)


@pytest.mark.parametrize("content", ["[1, 2]", "{", "text", "\x00"])
def test_file_that_is_no_recipe_is_refused(content: str, qwen3: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(CheckpointError, match="is no recipe"):
        load_verified(CheckpointSettings(model=str(qwen3), recipe=str(tmp_path / "mine.yaml")), EngineSettings())
    with pytest.raises(CheckpointError, match="is neither a file nor one of"):
        load_verified(CheckpointSettings(model=str(qwen3), recipe="nothing"), EngineSettings())


def test_t5_without_a_start_token_is_refused(tmp_path: Path) -> None:
    model = write_language_model(tmp_path / "t5", "t5")
    rewrite_json(model / "config.json", decoder_start_token_id=None)
    with pytest.raises(CheckpointError, match="has no decoder_start_token_id"):
        load_verified(CheckpointSettings(model=str(model), recipe=recipe_file(tmp_path, T5_RECIPE)), EngineSettings())
