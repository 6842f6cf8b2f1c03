"""Logits and gradients over packed pairs are those of Hugging Face's forward over one pair at a time."""

import copy

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    XLMRobertaConfig,
)

from reranker.errors import CheckpointError
from reranker.layout import PairLayout
from reranker.pairs import EncodedPairs, offsets
from reranker.training.packed import PackedStudent, recompute_activations

SIZES = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_labels": 1}
ENCODER = {**SIZES, "num_attention_heads": 4, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DECODER = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
CONFIGS = [
    BertConfig(**ENCODER, initializer_range=0.2),
    XLMRobertaConfig(**ENCODER, initializer_range=0.2, pad_token_id=1, type_vocab_size=1),
    LlamaConfig(**DECODER, initializer_range=0.2),
    Qwen3Config(**DECODER, head_dim=8, initializer_range=0.2),
    MistralConfig(**DECODER, initializer_range=0.2, sliding_window=None),
]
LAYOUT = PairLayout(head=(2,), middle=(3, 4), tail=(5,), prefix_type=0, passage_type=1, middle_passage_typed=1)


def some_pairs(seed: int = 0) -> EncodedPairs:
    random = np.random.default_rng(seed)
    lengths = np.array([3, 17, 1, 9, 9])
    return EncodedPairs(
        prefix_ids=random.integers(6, 120, 13, dtype=np.int32),
        prefix_offsets=offsets(np.array([6, 7])),
        prefix_of=np.array([0, 0, 1, 1, 1], dtype=np.int32),
        passage_ids=random.integers(6, 120, lengths.sum(), dtype=np.int32),
        passage_offsets=offsets(lengths),
        candidate_of=np.arange(5, dtype=np.int32),
        truncated=np.zeros(5, dtype=bool),
    )


def one_by_one(module: PreTrainedModel, pairs: EncodedPairs, layout: PairLayout) -> torch.Tensor:
    logits = []
    for pair in range(len(pairs)):
        ids = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None]
        extra = {}
        if module.config.model_type == "bert":
            passage = torch.arange(ids.shape[1]) >= pairs.prefix_lengths[pair] - layout.middle_passage_typed
            extra["token_type_ids"] = passage.long()[None]
        logits.append(module(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits[0, 0])
    return torch.stack(logits)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_packed_logits_and_gradients_are_hugging_faces(config: PretrainedConfig) -> None:
    torch.manual_seed(0)
    theirs = AutoModelForSequenceClassification.from_config(config)
    ours = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    ours.load_state_dict(theirs.state_dict())
    pairs = some_pairs()
    student = PackedStudent(ours, LAYOUT)
    logits = student(student.pack(pairs, torch.device("cpu")))
    reference = one_by_one(theirs, pairs, LAYOUT)

    assert np.ptp(reference.detach().numpy()) > 0.05
    torch.testing.assert_close(logits, reference, rtol=1e-4, atol=1e-5)
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.0])
    (logits * weights).sum().backward()
    (reference * weights).sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if other.grad is None:
            continue
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_adapters_train_packed_and_nothing_else_does() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    module = AutoModelForSequenceClassification.from_config(copy.deepcopy(CONFIGS[2]))
    adapted = peft.get_peft_model(
        module,
        peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    student = PackedStudent(adapted, LAYOUT)
    pairs = some_pairs()
    logits = student(student.pack(pairs, torch.device("cpu")))
    logits.sum().backward()
    trained = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert trained
    assert all("lora_" in name or "score" in name for name in trained)

    merged = copy.deepcopy(adapted).merge_and_unload()
    merged.set_attn_implementation("eager")
    torch.testing.assert_close(logits, one_by_one(merged, pairs, LAYOUT), rtol=1e-4, atol=1e-5)


def test_recomputed_activations_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_config(copy.deepcopy(CONFIGS[2])).train()
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    for module in (plain, saving):
        student = PackedStudent(module, LAYOUT)
        student(student.pack(some_pairs(), torch.device("cpu"))).sum().backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (DistilBertConfig(vocab_size=50, dim=16, n_heads=2, n_layers=1, hidden_dim=16, num_labels=1), "distilbert"),
        (MistralConfig(**DECODER, sliding_window=8), "sliding window"),
    ],
    ids=["architecture", "window"],
)
def test_what_cannot_be_packed_is_refused(config: PretrainedConfig, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        PackedStudent(AutoModelForSequenceClassification.from_config(config), LAYOUT)
