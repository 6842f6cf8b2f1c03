"""Write a checkpoint with random weights in the shape of a real one, for benchmarks.

The caller passes the texts that the tokenizer is trained on. Weights are generated tensor by tensor and written shard
by shard, so a 15 GB checkpoint needs memory for one shard only.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from reranker.checkpoints.manifest import Manifest, write_manifest
from reranker.checkpoints.output import new_directory
from reranker.errors import CheckpointError, InvalidField
from reranker.prompt import DEAR
from reranker.recipe import Recipe

MAX_SHARD_BYTES = 2**30
TRAINED_TOKENS = 16_384
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
MANIFEST = Manifest(recipe=Recipe(name="dear", template=DEAR, max_pair_tokens=228))

# Llama 3's regular expression for splitting text before byte-pair merges.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# Larger queries and keys make attention prefer some tokens instead of averaging all, so that a logit depends on the
# whole pair and not only on its last token. The gains are ours.
_ATTENTION_GAIN = 1.5
_HEAD_GAIN = 3.0
_BLOCK_WEIGHTS = 2**24  # weights generated at once


@dataclass(frozen=True, slots=True)
class SynthShape:
    """Sizes of a Llama. rope_factor: factor of the `llama3` rope scaling, None for unscaled rotary embeddings."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    positions: int
    rope_theta: float
    rope_factor: float | None = None
    rope_original_positions: int = 8192

    @property
    def weights(self) -> int:
        """Number of weights in a checkpoint of this shape."""
        return sum(math.prod(size) for _, size, _ in _tensors(self))


SHAPES: Mapping[str, SynthShape] = MappingProxyType(
    {
        # As wide as SmolLM2-135M, with fewer layers: small enough to measure on two cores.
        "12x576": SynthShape(12, 576, 9, 3, 64, 1536, 49_152, 8192, 100_000.0),
        "llama-3.1-8b": SynthShape(32, 4096, 32, 8, 128, 14_336, 128_256, 131_072, 500_000.0, rope_factor=8.0),
        "rankllama-13b": SynthShape(40, 5120, 40, 40, 128, 13_824, 32_000, 4096, 10_000.0),
    }
)


def shape_named(name: str) -> SynthShape:
    """Raises InvalidField for a name that is not in SHAPES."""
    if name not in SHAPES:
        raise InvalidField("--shape", f"{name!r} is not known: use one of {', '.join(SHAPES)}")
    return SHAPES[name]


def synthesize(
    shape: SynthShape,
    output: Path,
    texts: Iterable[str],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a one-logit Llama with a tokenizer to `output`; returns the bytes of its weights.

    texts: training texts of the tokenizer. progress: called with the bytes of each generated tensor. The same
    arguments give the same files. `output` is renamed into place once it is complete. Raises CheckpointError when it
    is not empty or its disk is too small.
    """
    weights_bytes = shape.weights * dtype.itemsize
    with new_directory(output) as partial:
        free_bytes = shutil.disk_usage(partial).free
        if weights_bytes + 2**26 > free_bytes:
            raise CheckpointError(
                f"{output} needs {weights_bytes / 1e9:.1f} GB and its disk has {free_bytes / 1e9:.1f} GB free: "
                "choose another --output or a smaller --shape"
            )
        _write_tokenizer(shape, partial, texts)
        _write_weights(shape, partial, seed, dtype, max_shard_bytes, progress)
        _config(shape, dtype).save_pretrained(partial)
        write_manifest(partial, MANIFEST)
    return weights_bytes


def _config(shape: SynthShape, dtype: torch.dtype) -> LlamaConfig:
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": shape.rope_theta}
    if shape.rope_factor is not None:
        rope |= {
            "rope_type": "llama3",
            "factor": shape.rope_factor,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": shape.rope_original_positions,
        }
    config: LlamaConfig = LlamaConfig.from_dict(
        {
            "architectures": ["LlamaForSequenceClassification"],
            "num_hidden_layers": shape.layers,
            "hidden_size": shape.hidden,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "intermediate_size": shape.intermediate,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": shape.positions,
            "rope_parameters": rope,
            "rms_norm_eps": 1e-5,
            "num_labels": 1,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": None,
            "dtype": str(dtype).removeprefix("torch."),
        }
    )
    return config


def _tensors(shape: SynthShape) -> Iterator[tuple[str, tuple[int, ...], float | None]]:
    """(name, shape, standard deviation) of every weight; None means ones.

    The deviation of a linear layer is 1/sqrt(inputs); that of the two that write to the residual stream is divided by
    sqrt(2 layers), so that activations stay near 1 with any number of layers.
    Source: initialization of GPT-2 (Radford et al., 2019).
    """
    hidden, query, key = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    residual = 1 / math.sqrt(2 * shape.layers)
    yield "model.embed_tokens.weight", (shape.vocabulary, hidden), 0.5
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        for name, outputs, inputs, gain in (
            ("self_attn.q_proj", query, hidden, _ATTENTION_GAIN),
            ("self_attn.k_proj", key, hidden, _ATTENTION_GAIN),
            ("self_attn.v_proj", key, hidden, 1.0),
            ("self_attn.o_proj", hidden, query, residual),
            ("mlp.gate_proj", shape.intermediate, hidden, 1.0),
            ("mlp.up_proj", shape.intermediate, hidden, 1.0),
            ("mlp.down_proj", hidden, shape.intermediate, residual),
        ):
            yield f"{prefix}.{name}.weight", (outputs, inputs), gain / math.sqrt(inputs)
        yield f"{prefix}.input_layernorm.weight", (hidden,), None
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,), None
    yield "model.norm.weight", (hidden,), None
    yield "score.weight", (1, hidden), _HEAD_GAIN / math.sqrt(hidden)


def _write_weights(
    shape: SynthShape,
    directory: Path,
    seed: int,
    dtype: torch.dtype,
    max_shard_bytes: int,
    progress: Callable[[int], None],
) -> None:
    shards: list[list[tuple[str, tuple[int, ...], float | None]]] = [[]]
    room = max_shard_bytes
    for tensor in _tensors(shape):
        size = math.prod(tensor[1]) * dtype.itemsize
        if size > room and shards[-1]:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(tensor)
        room -= size
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {}
        for name, size_of, deviation in shard:
            tensors[name] = _tensor(name, size_of, deviation, seed, dtype)
            progress(tensors[name].nbytes)
        save_file(tensors, directory / file, metadata={"format": "pt"})
        (directory / file).chmod(0o644)  # safetensors makes files that only their owner can read
        weight_map |= dict.fromkeys(tensors, file)
    index = {"metadata": {"total_size": shape.weights * dtype.itemsize}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _tensor(name: str, size: tuple[int, ...], deviation: float | None, seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Random values seeded by the tensor's name, so that they do not depend on shards; in blocks, to save memory."""
    if deviation is None:
        return torch.ones(size, dtype=dtype)
    generator = torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big") >> 1
    )
    tensor = torch.empty(size, dtype=dtype)
    flat = tensor.view(-1)
    for start in range(0, len(flat), _BLOCK_WEIGHTS):
        block = flat[start : start + _BLOCK_WEIGHTS]
        block.copy_(torch.randn(len(block), generator=generator).mul_(deviation))
    return tensor


def _write_tokenizer(shape: SynthShape, directory: Path, texts: Iterable[str]) -> None:
    """A byte-level BPE like Llama 3's: two BOS in a pair, and no pad token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(TRAINED_TOKENS, shape.vocabulary),
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=shape.positions,
    ).save_pretrained(directory)
