"""On one CUDA GPU: gradients over packed pairs are Hugging Face's, and how fast steps are.

python -m pytest -c tests/gpu/pytest.ini --noconftest tests/gpu -s
"""

import copy
import time

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig, PretrainedConfig

from reranker.layout import PairLayout
from reranker.pairs import EncodedPairs, offsets
from reranker.training.batches import EncodedGroup
from reranker.training.packed import PackedStudent
from reranker.training.settings import LossSettings, StepSettings
from reranker.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs one CUDA GPU"),
]

LAYOUT = PairLayout(head=(2,), middle=(3,), tail=(3,), prefix_type=0, passage_type=1, middle_passage_typed=0)
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LLAMA = LlamaConfig(
    vocab_size=1000,
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
    num_labels=1,
    pad_token_id=0,
    initializer_range=0.1,
)
BERT = BertConfig(
    vocab_size=1000,
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_labels=1,
    initializer_range=0.1,
    **NO_DROPOUT,
)
SMALL_BERT = BertConfig(
    hidden_size=384, intermediate_size=1536, num_attention_heads=12, num_hidden_layers=6, num_labels=1, **NO_DROPOUT
)
SMOLLM = LlamaConfig(
    vocab_size=49_152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    num_labels=1,
    pad_token_id=0,
)


def group(passages: int, vocabulary: int, seed: int) -> EncodedPairs:
    random = np.random.default_rng(seed)
    lengths = random.integers(20, 201, passages)
    return EncodedPairs(
        prefix_ids=random.integers(5, vocabulary, 12, dtype=np.int32),
        prefix_offsets=offsets(np.array([12])),
        prefix_of=np.zeros(passages, dtype=np.int32),
        passage_ids=random.integers(5, vocabulary, lengths.sum(), dtype=np.int32),
        passage_offsets=offsets(lengths),
        candidate_of=np.arange(passages, dtype=np.int32),
        truncated=np.zeros(passages, dtype=bool),
    )


def padded_logits(module: torch.nn.Module, pairs: EncodedPairs) -> torch.Tensor:
    """Hugging Face's forward over a padded batch."""
    lengths = pairs.lengths
    ids = np.zeros((len(pairs), lengths.max()), dtype=np.int64)
    types = np.zeros_like(ids)
    for pair, length in enumerate(lengths):
        ids[pair, :length] = pairs.pair_ids(pair)
        types[pair, pairs.prefix_lengths[pair] : length] = 1
    mask = np.arange(ids.shape[1]) < lengths[:, None]
    extra = {"token_type_ids": torch.from_numpy(types).cuda()} if module.config.model_type == "bert" else {}
    inputs = {"input_ids": torch.from_numpy(ids).cuda(), "attention_mask": torch.from_numpy(mask).cuda().long()}
    return module(**inputs, **extra).logits[:, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("config", [LLAMA, BERT], ids=["llama", "bert"])
def test_cuda_gradients_over_packed_pairs_are_hugging_faces(config: PretrainedConfig, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    theirs = AutoModelForSequenceClassification.from_config(config).cuda().train()
    ours = AutoModelForSequenceClassification.from_config(copy.deepcopy(config)).cuda().train()
    ours.load_state_dict(theirs.state_dict())
    student = PackedStudent(ours, LAYOUT)
    pairs = group(24, 1000, seed=1)
    weights = torch.linspace(-1, 1, len(pairs), device="cuda")
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        packed = student(student.pack(pairs, torch.device("cuda")))
    (packed.float() * weights).sum().backward()
    reference = padded_logits(theirs, pairs)
    (reference * weights).sum().backward()

    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    assert torch.linalg.norm(packed.float() - reference) <= tolerance * torch.linalg.norm(reference)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if other.grad is not None and torch.linalg.norm(other.grad) > 1e-4:
            assert torch.linalg.norm(mine.grad - other.grad) <= tolerance * torch.linalg.norm(other.grad), name


@pytest.mark.parametrize("config", [SMALL_BERT, SMOLLM], ids=["bert-6x384", "llama-30x576"])
def test_cuda_training_steps_run(config: PretrainedConfig) -> None:
    torch.manual_seed(0)
    student = PackedStudent(AutoModelForSequenceClassification.from_config(config).cuda(), LAYOUT)
    step = StepSettings(queries_per_step=64, negatives=15, micro_batch_tokens=65_536, warmup_steps=0)
    trainer = Trainer(student, step, LossSettings(), 30, device=torch.device("cuda"), dtype=torch.bfloat16)
    labels = np.eye(16, dtype=np.float32)[0]
    groups = [EncodedGroup(group(16, config.vocab_size, seed), labels, labels) for seed in range(64)]
    reports = []
    for number in range(12):
        if number == 4:
            torch.cuda.synchronize()
            started = time.perf_counter()
        reports.append(trainer.train_step(groups))
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    tokens = sum(report.tokens for report in reports[4:])
    parameters = sum(p.numel() for name, p in student.named_parameters() if "embed" not in name)
    print(
        f"\n{torch.cuda.get_device_name()}: {tokens / seconds:,.0f} tokens/s, "
        f"{6 * parameters * tokens / seconds / 1e12:.0f} TFLOP/s forward and backward, "
        f"peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
    )
    assert reports[-1].loss < reports[0].loss
