"""Write a checkpoint with random weights in the shape of a real one, for benchmarks.

The caller passes the texts that the tokenizer is trained on. Weights are generated tensor by tensor and written shard
by shard, so a 15 GB checkpoint needs memory for one shard only.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from reranker.checkpoints.manifest import Manifest, write_manifest
from reranker.checkpoints.output import new_directory
from reranker.checkpoints.synth_shapes import SynthShape, Tensor
from reranker.errors import CheckpointError

MAX_SHARD_BYTES = 2**30
TRAINED_TOKENS = 16_384
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"

# Llama 3's regular expression for splitting text before byte-pair merges.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_BLOCK_WEIGHTS = 2**24  # weights generated at once
_REPEATS = 2_000  # of the words that carry a score, so that each becomes one token


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
    """Write a checkpoint with a tokenizer to `output`; returns the bytes of its weights.

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
        config = shape.transformers_config()
        config.architectures = [architecture_of(shape)]
        config.dtype = dtype
        config.save_pretrained(partial)
        write_manifest(partial, Manifest(recipe=shape.pairs))
    return weights_bytes


def _write_weights(
    shape: SynthShape,
    directory: Path,
    seed: int,
    dtype: torch.dtype,
    max_shard_bytes: int,
    progress: Callable[[int], None],
) -> None:
    shards: list[list[Tensor]] = [[]]
    room = max_shard_bytes
    for tensor in shape.tensors():
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


def architecture_of(shape: SynthShape) -> str:
    """The class of transformers that loads it."""
    import transformers

    config = shape.transformers_config()
    mapping = getattr(transformers, f"AutoModelFor{shape.task}")._model_mapping
    return str(mapping[type(config)].__name__)


def _write_tokenizer(shape: SynthShape, directory: Path, texts: Iterable[str]) -> None:
    """A byte-level BPE with Llama 3's words, and no pad token.

    Special tokens: two BOS in a pair, an end token behind a single text, or none; and those that a template spells.
    """
    recipe = shape.pairs
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(TRAINED_TOKENS, shape.config["vocab_size"]),
        special_tokens=list(dict.fromkeys([BOS, EOS, *sorted(recipe.template.marks)])),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *(word for word in recipe.score.tokens for _ in range(_REPEATS))], trainer)
    if recipe.template.special_tokens == "pair":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, 0)]
        )
    elif recipe.template.special_tokens == "single":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {EOS}", pair=f"$A {EOS} $B:1 {EOS}:1", special_tokens=[(EOS, 1)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=shape.config.get("max_position_embeddings", 512),
    ).save_pretrained(directory)
