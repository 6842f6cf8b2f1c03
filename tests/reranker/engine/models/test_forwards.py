"""The fast forwards give the logits of Hugging Face's forward: every supported family, any lengths, any batch."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from reranker.checkpoints.weights import ModuleWeights
from reranker.engine.models.bert import BertModel
from reranker.engine.models.huggingface import HuggingFaceModel
from reranker.engine.models.llama import LlamaModel
from reranker.engine.models.loading import why_no_fast_forward
from reranker.engine.models.modernbert import ModernBertModel
from reranker.engine.models.pooled_head import Dense, Head, Norm, Pooling
from reranker.layout import PadToken, PairLayout
from reranker.pairs import EncodedPairs, offsets
from tests.reranker.engine.worst import pairs_of_lengths

SIZES = {"vocab_size": 60, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_labels": 1}
DECODER = SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": None, "initializer_range": 0.2}
ENCODER = SIZES | {"num_attention_heads": 4, "initializer_range": 0.2, "max_position_embeddings": 130}
MODERNBERT = ENCODER | {"num_hidden_layers": 4, "pad_token_id": 0, "local_attention": 10}
MODERNBERT_BIASES = {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True}
PAD_TOKEN_ID = 5
ROPES = {
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "linear": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0},
    "yarn": {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32},
}
ROPES_OF_GEMMA_3 = {
    "full_attention": ROPES["linear"] | {"rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
GEMMA = DECODER | {"head_dim": 16, "num_hidden_layers": 7}  # of Gemma 3, every sixth layer has the other rope
CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**DECODER),
    "llama 3": lambda: LlamaConfig(**DECODER, rope_parameters=ROPES["llama3"]),
    "llama, linear rope": lambda: LlamaConfig(**DECODER, rope_parameters=ROPES["linear"]),
    "llama, yarn": lambda: LlamaConfig(**DECODER, rope_parameters=ROPES["yarn"]),
    "llama with biases": lambda: LlamaConfig(**DECODER, attention_bias=True, mlp_bias=True),
    "llama, odd head": lambda: LlamaConfig(**DECODER, head_dim=20),
    "llama, one key head": lambda: LlamaConfig(**DECODER | {"num_key_value_heads": 1}),
    "llama, every head its own keys": lambda: LlamaConfig(**DECODER | {"num_key_value_heads": 4}),
    "llama, pad token": lambda: LlamaConfig(**DECODER | {"pad_token_id": PAD_TOKEN_ID}),
    "llama, one layer": lambda: LlamaConfig(**DECODER | {"num_hidden_layers": 1}),
    "mistral": lambda: MistralConfig(**DECODER, sliding_window=4096),
    "qwen2": lambda: Qwen2Config(**DECODER),
    "qwen3": lambda: Qwen3Config(**DECODER, head_dim=16),
    "gemma": lambda: GemmaConfig(**GEMMA),
    "gemma, one key head, biases": lambda: GemmaConfig(**GEMMA | {"num_key_value_heads": 1}, attention_bias=True),
    "gemma 2": lambda: Gemma2Config(**GEMMA, query_pre_attn_scalar=10, attn_logit_softcapping=2.0),
    "gemma 2, plain scores": lambda: Gemma2Config(**GEMMA, query_pre_attn_scalar=16, attn_logit_softcapping=None),
    "gemma 3": lambda: Gemma3TextConfig(**GEMMA, query_pre_attn_scalar=10, rope_parameters=ROPES_OF_GEMMA_3),
    "bert": lambda: BertConfig(**ENCODER),
    "bert, relu": lambda: BertConfig(**ENCODER, hidden_act="relu"),
    "bert, one layer": lambda: BertConfig(**ENCODER | {"num_hidden_layers": 1}),
    "roberta": lambda: RobertaConfig(**ENCODER, pad_token_id=1, type_vocab_size=1),
    "xlm-roberta": lambda: XLMRobertaConfig(**ENCODER, pad_token_id=1, type_vocab_size=1),
    "modernbert": lambda: ModernBertConfig(**MODERNBERT),
    "modernbert, mean": lambda: ModernBertConfig(**MODERNBERT, classifier_pooling="mean"),
    "modernbert with biases": lambda: ModernBertConfig(**MODERNBERT, **MODERNBERT_BIASES),
    "modernbert, local last layer": lambda: ModernBertConfig(**MODERNBERT | {"num_hidden_layers": 3}),
    "modernbert, one layer": lambda: ModernBertConfig(**MODERNBERT | {"num_hidden_layers": 1}),
    "modernbert, one local layer": lambda: ModernBertConfig(
        **MODERNBERT | {"num_hidden_layers": 1, "layer_types": ["sliding_attention"]}
    ),
    "modernbert, only itself in the window": lambda: ModernBertConfig(**MODERNBERT | {"local_attention": 1}),
    "modernbert, other activations": lambda: ModernBertConfig(
        **MODERNBERT, hidden_activation="silu", classifier_activation="tanh"
    ),
    "modernbert, ropes": lambda: ModernBertConfig(
        **MODERNBERT, rope_parameters={"full_attention": ROPES["yarn"], "sliding_attention": ROPES["linear"]}
    ),
}
LAYOUT = PairLayout(head=(2,), middle=(3,), tail=(3,), prefix_type=0, passage_type=1, middle_passage_typed=0)


@cache
def forwards(name: str) -> tuple[Callable, Callable]:
    """(ours, Hugging Face's) over the same random weights in float32."""
    config = CONFIGS[name]()
    assert why_no_fast_forward(config, 100) is None
    torch.manual_seed(3)
    module = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    for parameter in module.parameters():  # biases and norms matter too
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.mean().detach()), std=0.2)
    weights = ModuleWeights(name, module.state_dict())
    options = {"dtype": torch.float32, "device": "cpu"}
    if isinstance(config, ModernBertConfig):
        return ModernBertModel(weights, config, 100, **options), HuggingFaceModel(module, LAYOUT)
    if isinstance(config, BertConfig | RobertaConfig | XLMRobertaConfig):
        return BertModel(weights, config, LAYOUT, **options), HuggingFaceModel(module, LAYOUT)
    return LlamaModel(weights, config, 100, **options), HuggingFaceModel(module, LAYOUT)


@st.composite
def any_pairs(draw: st.DrawFn) -> EncodedPairs:
    """A few queries with different prefixes; passages of any length, some empty, some ending in pad tokens."""
    prefixes = [[2, *draw(ids(max_size=20)), 3] for _ in range(draw(st.integers(1, 3)))]
    prefix_of = draw(st.lists(st.integers(0, len(prefixes) - 1), min_size=1, max_size=9))
    passages = [draw(ids(max_size=60)) + [PAD_TOKEN_ID] * draw(st.integers(0, 2)) for _ in prefix_of]
    return EncodedPairs(
        prefix_ids=np.array([token for prefix in prefixes for token in prefix], dtype=np.int32),
        prefix_offsets=offsets(np.array([len(prefix) for prefix in prefixes])),
        prefix_of=np.array(prefix_of, dtype=np.int32),
        passage_ids=np.array([token for passage in passages for token in passage], dtype=np.int32),
        passage_offsets=offsets(np.array([len(passage) for passage in passages])),
        candidate_of=np.arange(len(passages), dtype=np.int32),
        truncated=np.zeros(len(passages), dtype=bool),
    )


def ids(max_size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 59), max_size=max_size)


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=25)
@given(pairs=any_pairs())
def test_fast_forward_gives_the_logits_of_hugging_faces(name: str, pairs: EncodedPairs) -> None:
    fast, reference = forwards(name)
    expected = np.concatenate([reference.prepare(pairs.take(np.array([n])))().numpy() for n in range(len(pairs))])
    assert fast.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-4)
    assert fast.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-4)  # with every prefix in the cache


@pytest.mark.parametrize("name", ["llama 3", "llama, pad token", "llama, one layer", "qwen3"])
@settings(max_examples=25)
@given(pairs=any_pairs(), room=st.integers(0, 20))
def test_logit_at_a_pad_token_is_that_of_hugging_faces_padded_pair(name: str, pairs: EncodedPairs, room: int) -> None:
    """With no room, the longest pair fills the max length and has no pad token."""
    columns = int(pairs.lengths.max()) + room
    config = CONFIGS[name]()
    _, reference = forwards(name)
    module = reference._module
    pad = PadToken(7, columns - 1)
    fast = LlamaModel(
        ModuleWeights(name, module.state_dict()), config, columns, pad, dtype=torch.float32, device="cpu"
    )
    expected = []
    for pair in range(len(pairs)):
        ids = torch.full((1, columns), pad.token_id)
        length = int(pairs.lengths[pair])
        ids[0, :length] = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))
        mask = (torch.arange(columns) < length).long()[None]
        with torch.inference_mode():
            expected.append(module(input_ids=ids, attention_mask=mask).logits.item())
    assert fast.prepare(pairs)().numpy() == pytest.approx(np.array(expected), abs=1e-5, rel=1e-5)
    assert HuggingFaceModel(module, LAYOUT, pad).prepare(pairs)().numpy() == pytest.approx(
        np.array(expected), abs=1e-5, rel=1e-5
    )


CHAINS = {
    "two layers": (Dense("2_Dense.linear", 48, False, "gelu"), Norm("3_LayerNorm.norm", True, 1e-5)),
    "two layers with a bottleneck": (Dense("2_Dense.linear", 20, True, "tanh"),),
    "one layer": (),
}


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("chain", CHAINS)
@settings(max_examples=5)
@given(pairs=any_pairs())
def test_head_of_other_layers_gives_the_logits_of_these_layers(
    chain: str, pooling: Pooling, pairs: EncodedPairs
) -> None:
    """As sentence-transformers saves them: modules of their own behind a ModernBERT without a head."""
    config = CONFIGS["modernbert"]()
    torch.manual_seed(4)
    body = AutoModel.from_config(config).eval()
    layers = (*CHAINS[chain], Dense("4_Dense.linear", 1, True))
    modules, tensors, width = torch.nn.Sequential(), dict(body.state_dict()), config.hidden_size
    for layer in layers:
        module: torch.nn.Module
        if isinstance(layer, Norm):
            module = torch.nn.LayerNorm(width, eps=layer.epsilon, bias=layer.bias)
        else:
            module, width = torch.nn.Linear(width, layer.outputs, bias=layer.bias), layer.outputs
        torch.nn.init.normal_(module.get_parameter("bias" if layer.bias else "weight"))
        tensors |= {f"{layer.name}.{name}": tensor for name, tensor in module.state_dict().items()}
        modules.append(module)
        if isinstance(layer, Dense) and layer.activation:
            modules.append({"gelu": torch.nn.GELU(), "tanh": torch.nn.Tanh()}[layer.activation])
    expected = []
    for pair in range(len(pairs)):
        ids = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None]
        with torch.inference_mode():
            states = body(input_ids=ids).last_hidden_state[0]
            expected.append(modules(states[0] if pooling == "cls" else states.mean(0)).item())
    model = ModernBertModel(
        ModuleWeights("chain", tensors),
        config,
        100,
        Head(pooling, layers),
        body="",
        dtype=torch.float32,
        device="cpu",
    )
    assert model.prepare(pairs)().numpy() == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("last", ["full_attention", "sliding_attention"])
def test_modernbert_is_exact_at_every_length_around_its_window(last: str, pooling: Pooling) -> None:
    """In one pass, in which the longest pair exceeds the window, and one by one: also where none does."""
    config = ModernBertConfig(
        **MODERNBERT, layer_types=["full_attention", *["sliding_attention"] * 2, last], classifier_pooling=pooling
    )
    torch.manual_seed(5)
    module = AutoModelForSequenceClassification.from_config(config).eval()
    fast = ModernBertModel(
        ModuleWeights("edges", module.state_dict()), config, 100, dtype=torch.float32, device="cpu"
    )
    lengths = [1, 2, 4, 5, 6, 7, 10, 11, 12, 13, 20, 21, 22, 90]  # the window is 5 on each side
    pairs = pairs_of_lengths([1], [0] * len(lengths), [length - 1 for length in lengths], vocabulary=60)
    one_by_one = [pairs.take(np.array([pair])) for pair in range(len(pairs))]
    reference = HuggingFaceModel(module, LAYOUT)
    expected = np.concatenate([reference.prepare(pair)().numpy() for pair in one_by_one])
    assert fast.prepare(pairs)().numpy() == pytest.approx(expected, abs=1e-5)
    assert np.concatenate([fast.prepare(pair)().numpy() for pair in one_by_one]) == pytest.approx(expected, abs=1e-5)
    assert fast.prepare(pairs.take(np.arange(8)))().numpy() == pytest.approx(expected[:8], abs=1e-5)


def test_prefixes_that_exceed_one_pass_and_the_cache_do_not_change_logits() -> None:
    fast, reference = forwards("llama 3")
    random = np.random.default_rng(0)

    def shard(prefixes: np.ndarray) -> EncodedPairs:
        count, tokens = prefixes.shape
        return EncodedPairs(
            prefix_ids=prefixes.reshape(-1),
            prefix_offsets=offsets(np.full(count, tokens)),
            prefix_of=np.arange(count, dtype=np.int32),
            passage_ids=random.integers(0, 60, 5 * count, dtype=np.int32),
            passage_offsets=offsets(np.full(count, 5)),
            candidate_of=np.arange(count, dtype=np.int32),
            truncated=np.zeros(count, dtype=bool),
        )

    prefixes = random.integers(0, 60, (60, 70), dtype=np.int32)  # 4,200 tokens: two passes, more than is cached
    pairs = EncodedPairs.concat([shard(prefixes), shard(prefixes)])
    assert fast.prepare(pairs)().numpy() == pytest.approx(reference.prepare(pairs)().numpy(), abs=1e-4)


@pytest.mark.parametrize("name", ["llama 3", "bert", "modernbert", "modernbert, mean"])
def test_random_weights_of_this_test_give_different_logits_to_different_passages(name: str) -> None:
    fast, _ = forwards(name)
    passages = [[n, n + 1, n + 2] for n in range(10, 50, 5)]
    pairs = EncodedPairs(
        prefix_ids=np.array([2, 9, 3], dtype=np.int32),
        prefix_offsets=offsets(np.array([3])),
        prefix_of=np.zeros(len(passages), dtype=np.int32),
        passage_ids=np.array(passages, dtype=np.int32).reshape(-1),
        passage_offsets=offsets(np.full(len(passages), 3)),
        candidate_of=np.arange(len(passages), dtype=np.int32),
        truncated=np.zeros(len(passages), dtype=bool),
    )
    assert np.ptp(fast.prepare(pairs)().numpy()) > 0.1


def quantized() -> PretrainedConfig:
    config = LlamaConfig()
    config.quantization_config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    return config


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (BertConfig(hidden_act="gelu_new"), "activation is gelu_new"),
        (LlamaConfig(hidden_act="gelu"), "activation is gelu"),
        (MistralConfig(sliding_window=50), "window of 50 is shorter than a pair"),
        (
            LlamaConfig(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            "rope type is dynamic",
        ),
        (PretrainedConfig(), "architecture is"),
        (ModernBertConfig(hidden_activation="gelu_new"), "activation is gelu_new"),
        (ModernBertConfig(classifier_activation="gelu_new"), "its head's activation is gelu_new"),
        (
            ModernBertConfig(layer_types=["full_attention"] * 21 + ["chunked_attention"]),
            "layers of type chunked_attention",
        ),
        (
            ModernBertConfig(
                rope_parameters={"sliding_attention": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}
            ),
            "rope type is dynamic",
        ),
        (ModernBertConfig(head_dim=20), "config key head_dim is 20"),
        (quantized(), "weights are quantized"),
    ],
)
def test_unsupported_config_is_explained(config: PretrainedConfig, reason: str) -> None:
    assert reason in str(why_no_fast_forward(config, 100))


def test_checkpoint_without_a_fast_forward_uses_hugging_faces_and_logs_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from reranker.fidelity import load_verified
    from reranker.settings import CheckpointSettings, EngineSettings
    from tests.checkpoints import rewrite_json, write_bert

    directory = write_bert(tmp_path / "bert")
    rewrite_json(directory / "config.json", hidden_act="gelu_new")
    with caplog.at_level(logging.WARNING):
        loaded = load_verified(CheckpointSettings(model=str(directory)), EngineSettings())
    pairs = loaded.encoder.encode("when", [])
    assert loaded.engine.score(pairs).tolist() == []
    assert [r.getMessage() for r in caplog.records if "no fast forward" in r.getMessage()] == [
        "bert: has no fast forward, using Hugging Face's: its activation is gelu_new"
    ]
