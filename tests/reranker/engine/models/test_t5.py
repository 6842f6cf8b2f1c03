"""The T5 forward gives the first-step logits of Hugging Face's: every variant, any lengths, any batch, any file."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForSeq2SeqLM,
    MT5Config,
    MT5ForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
)

from reranker.checkpoints.weights import ModuleWeights, SafetensorsWeights
from reranker.engine.models.t5 import T5Model, unsupported
from reranker.errors import CheckpointError
from reranker.pairs import EncodedPairs
from tests.reranker.engine.worst import pairs_of_lengths

SIZES = {"vocab_size": 60, "d_model": 48, "d_ff": 96, "num_layers": 2, "num_heads": 4, "d_kv": 16}
T5 = SIZES | {"decoder_start_token_id": 0}
NEAR = T5 | {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}
UNTIED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "1.0": lambda: T5Config(**T5),
    "1.0, near positions": lambda: T5Config(**NEAR),
    "1.0, odd head": lambda: T5Config(**T5 | {"d_kv": 20, "decoder_start_token_id": 3}),
    "1.0, three decoder layers": lambda: T5Config(**T5 | {"num_decoder_layers": 3}),
    "1.0, one layer": lambda: T5Config(**T5 | {"num_layers": 1}),
    "1.0, gelu": lambda: T5Config(**T5, feed_forward_proj="gelu"),
    "1.1": lambda: T5Config(**T5, **UNTIED),
    "1.1, near positions": lambda: T5Config(**NEAR, **UNTIED),
    "1.1, silu": lambda: T5Config(**T5, **UNTIED | {"feed_forward_proj": "gated-silu"}),
    "mt5": lambda: MT5Config(**T5, **UNTIED),
}
TOKENS = {7: 1.0, 11: -1.0}


@cache
def random_module(name: str) -> PreTrainedModel:
    """Weights so large that scores, biases, norms and both heads matter."""
    config = CONFIGS[name]()
    assert unsupported(config) is None
    torch.manual_seed(3)
    kind = MT5ForConditionalGeneration if isinstance(config, MT5Config) else T5ForConditionalGeneration
    module = kind(config).eval()
    is_untied = isinstance(config, MT5Config) or not config.scale_decoder_outputs
    if is_untied:  # as files of these are
        module.lm_head.weight = torch.nn.Parameter(torch.empty_like(module.lm_head.weight))
    for tensor_name, parameter in module.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
        elif "embed" in tensor_name or "shared" in tensor_name or "bias" in tensor_name:
            torch.nn.init.normal_(parameter)
        else:
            torch.nn.init.normal_(parameter, std=(0.7 if ".q." in tensor_name else 1) / parameter.shape[1] ** 0.5)
    return module


def fast(name: str, token_weights: Mapping[int, float] = TOKENS, dtype: torch.dtype = torch.float32) -> T5Model:
    weights = ModuleWeights(name, random_module(name).state_dict())
    return T5Model(weights, CONFIGS[name](), token_weights, dtype=dtype, device="cpu")


def reference(
    module: PreTrainedModel, pairs: EncodedPairs, token_weights: Mapping[int, float] = TOKENS
) -> np.ndarray:
    """The authors' loop: float64 (pairs,) from the vocabulary's logits at the first step, pair by pair."""
    start = torch.tensor([[module.config.decoder_start_token_id]])
    logits = []
    with torch.inference_mode():
        for pair in range(len(pairs)):
            ids = torch.from_numpy(pairs.pair_ids(pair).astype(np.int64))[None]
            row = module(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=start).logits[0, 0]
            logits.append(sum(weight * row[token].item() for token, weight in token_weights.items()))
    return np.array(logits)


def scores(model: T5Model, pairs: EncodedPairs) -> np.ndarray:
    return model.prepare(pairs)().double().numpy()


def pairs_of(passage_lengths: list[int], seed: int = 0) -> EncodedPairs:
    """One query of 6 tokens."""
    return pairs_of_lengths([6], [0] * len(passage_lengths), passage_lengths, seed, vocabulary=60)


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_t5_gives_the_logits_of_hugging_faces(name: str, lengths: list[int], seed: int) -> None:
    pairs = pairs_of(lengths, seed)
    assert scores(fast(name), pairs) == pytest.approx(reference(random_module(name), pairs), abs=1e-4)


@pytest.mark.parametrize("name", ["1.0", "1.1", "mt5"])
def test_t5_gives_the_logits_of_hugging_faces_beyond_the_max_distance(name: str) -> None:
    pairs = pairs_of([300, 150, 20])
    assert scores(fast(name), pairs) == pytest.approx(reference(random_module(name), pairs), abs=1e-4)


@pytest.mark.parametrize("name", ["1.0", "1.1", "mt5"])
@pytest.mark.parametrize("token_weights", [{9: 1.0}, {0: 0.5, 59: -2.0, 7: 1.0}])
def test_logit_is_the_weighted_sum_of_the_tokens_logits(name: str, token_weights: dict[int, float]) -> None:
    pairs = pairs_of([3, 30, 12])
    expected = reference(random_module(name), pairs, token_weights)
    assert scores(fast(name, token_weights), pairs) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["1.0", "1.1", "mt5"])
def test_bfloat16_error_is_about_that_of_hugging_faces(name: str, tmp_path: Path) -> None:
    module = random_module(name)
    pairs = pairs_of(list(range(64)))
    exact = reference(module, pairs)
    module.save_pretrained(tmp_path)
    half = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert half.decoder.block[0].layer[2].DenseReluDense.wo.weight.dtype is torch.bfloat16
    theirs = reference(half, pairs) - exact
    ours = scores(fast(name, dtype=torch.bfloat16), pairs) - exact
    assert np.ptp(exact) > 1
    assert np.sqrt((ours**2).mean()) <= 1.5 * np.sqrt((theirs**2).mean())


@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=9), data=st.data())
@settings(max_examples=20)
def test_a_pairs_logit_does_not_depend_on_its_batch_or_place(lengths: list[int], data: st.DataObject) -> None:
    model, pairs = fast("1.1, near positions"), pairs_of(lengths)
    alone = np.concatenate([scores(model, pairs.take(np.array([n]))) for n in range(len(pairs))])
    order = np.array(data.draw(st.permutations(range(len(pairs)))))
    assert scores(model, pairs.take(order)) == pytest.approx(alone[order], abs=1e-5)


@pytest.mark.parametrize("name", ["1.0", "1.1", "mt5"])
@pytest.mark.parametrize("old_names", [False, True])
def test_a_saved_file_gives_what_hugging_face_reads_from_it(name: str, old_names: bool, tmp_path: Path) -> None:
    """Old files have the embeddings under the names of encoder and decoder too, or only there."""
    from safetensors.torch import load_file, save_file

    random_module(name).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    if old_names:
        tensors = load_file(path)
        table = tensors.pop("shared.weight")
        tensors |= {f"{part}.embed_tokens.weight": table.clone() for part in ("encoder", "decoder")}
        save_file(tensors, path, metadata={"format": "pt"})
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    ours = T5Model(SafetensorsWeights(name, [path]), theirs.config, TOKENS, dtype=torch.float32, device="cpu")
    pairs = pairs_of([3, 40, 12])
    assert scores(ours, pairs) == pytest.approx(reference(random_module(name), pairs), abs=1e-4)
    assert scores(ours, pairs) == pytest.approx(reference(theirs, pairs), abs=1e-4)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (UMT5Config(), "architecture is umt5"),
        (T5Config(feed_forward_proj="gated-quick_gelu"), "activation is quick_gelu"),
        (T5Config(is_encoder_decoder=False), "has no decoder"),
        (T5Config(num_decoder_layers=0), "has no layers"),
        (T5Config(relative_attention_num_buckets=3), "3 buckets up to distance 128"),
        (T5Config(relative_attention_max_distance=8), "32 buckets up to distance 8"),
        (T5Config(is_causal=True), "config key is_causal is True"),
    ],
)
def test_unsupported_t5_is_explained(config: PretrainedConfig, reason: str) -> None:
    assert reason in str(unsupported(config))


def test_configs_of_published_checkpoints_are_supported() -> None:
    monot5 = {"n_positions": 512, "output_past": True, "initializer_factor": 1.0, "decoder_start_token_id": 0}
    tasks = {"task_specific_params": {"summarization": {"num_beams": 4, "prefix": "summarize: "}}}
    assert unsupported(T5Config(**monot5, **tasks)) is None
    assert unsupported(MT5Config(tokenizer_class="T5Tokenizer", tie_word_embeddings=False)) is None


@pytest.mark.parametrize("token", [-1, 60])
def test_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(CheckpointError, match=f"token {token} is outside the model's vocabulary: use one of 0 to 59"):
        fast("1.0", {7: 1.0, token: -1.0})


def test_config_without_start_token_is_refused() -> None:
    weights = ModuleWeights("1.0", random_module("1.0").state_dict())
    with pytest.raises(CheckpointError, match="no decoder_start_token_id: set it in"):
        T5Model(weights, T5Config(**SIZES), TOKENS, dtype=torch.float32, device="cpu")
    with pytest.raises(CheckpointError, match="token 60 is outside"):
        T5Model(weights, T5Config(**SIZES, decoder_start_token_id=60), TOKENS, dtype=torch.float32, device="cpu")


def test_float16_is_refused() -> None:
    with pytest.raises(CheckpointError, match="use bfloat16 or float32"):
        fast("1.0", dtype=torch.float16)


def test_no_token_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no token carries the score"):
        fast("1.0", {})


def test_weights_of_another_shape_are_refused() -> None:
    tensors = random_module("1.0").state_dict()
    narrow = ModuleWeights("1.0", tensors | {"lm_head.weight": tensors["lm_head.weight"][:, 1:]})
    with pytest.raises(CheckpointError, match=r"rows of lm_head\.weight have 47 columns"):
        T5Model(narrow, T5Config(**T5), TOKENS, dtype=torch.float32, device="cpu")
    weights = ModuleWeights("1.0", tensors)
    with pytest.raises(CheckpointError, match=r"wi\.weight is"):
        T5Model(weights, T5Config(**T5 | {"d_ff": 100}), TOKENS, dtype=torch.float32, device="cpu")
