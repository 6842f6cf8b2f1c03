"""Locates a checkpoint by directory or hub id, and loads its tokenizer and config.

Knows nothing of weights, batches or scores. Everything is loaded from a local directory: `locate` downloads a hub id
into the hub's cache, and nothing else uses the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from reranker.checkpoints.adapter import adapter_config
from reranker.checkpoints.hugging_face import as_checkpoint_error, offline
from reranker.checkpoints.json_files import read_object
from reranker.checkpoints.lfs import check_no_pointers
from reranker.checkpoints.manifest import Manifest, read_manifest
from reranker.checkpoints.module_chain import BODIES, module_chain
from reranker.checkpoints.recipes import known_for
from reranker.checkpoints.weight_files import ADAPTER_CONFIG, weight_files
from reranker.errors import CheckpointError
from reranker.recipe import CLASSIFIER, Score
from reranker.settings import CheckpointSettings

EMBEDDED = "embedded"
# Model types that ship with code of their own, which is that of another one but for what a known recipe says:
# (the other one, the recipe).
READ_AS = {"llama_bidirec": ("llama", "nemotron-rerank")}
# Without its weights: but those of an adapter are few, and say how many embeddings there are.
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "adapter_model.safetensors", "adapter_model.bin")
_PYTORCH_FILES = "pytorch_model*.bin"  # downloaded where there are no safetensors


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checkpoint on this machine's disk.

    base: directory of the base model where `directory` is a LoRA adapter, else None.
    """

    name: str
    directory: Path
    base: Path | None
    manifest: Manifest | None


def locate(settings: CheckpointSettings, *, weights: bool) -> CheckpointFiles:
    """Find a checkpoint; download a hub id into the hub's cache, with its weights only if `weights`.

    Raises CheckpointError when it is not found.
    """
    directory = _local_directory(settings.model, settings.revision, weights=weights)
    if not (directory / "config.json").is_file() and not (directory / ADAPTER_CONFIG).is_file():
        raise CheckpointError(
            f"{directory} has neither config.json nor {ADAPTER_CONFIG}: it is not a checkpoint"
            f"{_instead_of(directory)}"
        )
    check_no_pointers(directory, weights=weights)
    base = None
    if (directory / ADAPTER_CONFIG).is_file():
        base = _base_of(directory, weights=weights)
        check_no_pointers(base, weights=weights)
    return CheckpointFiles(settings.model_name, directory, base, read_manifest(directory))


def _instead_of(directory: Path) -> str:
    """Weights in a format that is not read here, for the message."""
    for ending in (".gguf", ".onnx"):
        if any(directory.glob(f"*{ending}")):
            return f": {ending} is not read; use the model's own directory, in safetensors"
    return ""


def load_tokenizer(files: CheckpointFiles, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Raises CheckpointError when neither the checkpoint nor its base model has a tokenizer."""
    for directory in filter(None, (files.directory, files.base)):
        if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            continue
        with as_checkpoint_error(files.name), offline():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                directory, local_files_only=True, trust_remote_code=trust_remote_code
            )
            return tokenizer
    raise CheckpointError(f"{files.name} has no tokenizer: save its tokenizer.json beside the weights")


def load_config(
    files: CheckpointFiles, *, score: Score = CLASSIFIER, trust_remote_code: bool = False
) -> PretrainedConfig:
    """Raises CheckpointError unless the config is of an architecture that gives this score."""
    config = read_config_object(files, one_logit=score.kind == "classifier", trust_remote_code=trust_remote_code)
    _check_runs(files, config)
    if score.kind == "classifier":
        chain = module_chain(files.directory)
        if chain is None:
            _check_one_logit(files, config)
        elif config.model_type in BODIES:
            config.classifier_pooling = chain.pooling
        else:
            raise CheckpointError(
                f"{files.name} has a head of sentence-transformers' modules behind a {config.model_type}: that is "
                f"known for {', '.join(sorted(BODIES))} only"
            )
    elif is_classifier(config):
        raise CheckpointError(
            f"{files.name} is a {architecture(config)}, and its recipe reads the score from a language model's tokens"
        )
    elif score.kind == "first_decoded" and getattr(config, "decoder_start_token_id", None) is None:
        raise CheckpointError(
            f"{files.name} has no decoder_start_token_id in its config.json, with which a T5 begins to decode: set it"
        )
    return config


def read_config_object(
    files: CheckpointFiles, *, one_logit: bool = False, trust_remote_code: bool = False
) -> PretrainedConfig:
    """config.json, unchecked; of an adapter, its base model's. one_logit: an adapter's head has one logit."""
    directory = files.base or files.directory
    with as_checkpoint_error(files.name), offline():
        if (other := READ_AS.get(model_type_of(files))) is not None:
            return _read_as(other[0], directory)
        config: PretrainedConfig = AutoConfig.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            **({"num_labels": 1} if files.base and one_logit else {}),
        )
    return config


def model_type_of(files: CheckpointFiles) -> str:
    """As config.json spells it; empty if it does not."""
    return str(read_object((files.base or files.directory) / "config.json").get("model_type", ""))


def _read_as(model_type: str, directory: Path) -> PretrainedConfig:
    keys = {**read_object(directory / "config.json"), "is_causal": False}
    if keys.get("pooling", "avg") != "avg":  # its own code knows more than one, and its recipe says mean
        raise CheckpointError(f"{directory.name} pools by {keys['pooling']!r}: of its architecture only avg is known")
    for name in ("auto_map", "model_type"):
        keys.pop(name, None)
    # transformers takes a config's `temperature` for one of text generation, and drops it.
    keys["score_temperature"] = keys.pop("temperature", None) or 1.0
    config: PretrainedConfig = AutoConfig.for_model(model_type, **keys)
    return config


def architecture(config: PretrainedConfig) -> str | None:
    """The first architecture that a config names."""
    return first_architecture(config.architectures)


def first_architecture(named: object) -> str | None:
    """Of what a config.json has under `architectures`."""
    return str(named[0]) if isinstance(named, list) and named else None


def is_classifier(config: PretrainedConfig) -> bool:
    return (architecture(config) or "").endswith("ForSequenceClassification")


def other_architecture(config: PretrainedConfig) -> str | None:
    """The architecture that a config names, unless it is a sequence classifier."""
    name = architecture(config)
    return None if name is None or is_classifier(config) else name


def _check_runs(files: CheckpointFiles, config: PretrainedConfig) -> None:
    """Raises CheckpointError for sizes that no model has, and for weights that transformers would misread."""
    text = config.get_text_config()
    for key in ("num_hidden_layers", "num_attention_heads"):
        if isinstance(size := getattr(text, key, None), int) and size < 1:
            raise CheckpointError(f"{files.name} has {key} {size} in its config.json: a model has at least 1")
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    if method not in AUTO_QUANTIZATION_CONFIG_MAPPING and not (
        isinstance(quantization, dict) and (quantization.get("load_in_8bit") or quantization.get("load_in_4bit"))
    ):  # it would be ignored, and the codes taken for numbers
        raise CheckpointError(
            f"{files.name} is quantized by {method!r}, which transformers cannot read: serve the checkpoint in "
            f"bfloat16, or one quantized by {', '.join(sorted(AUTO_QUANTIZATION_CONFIG_MAPPING))}"
        )


def _check_one_logit(files: CheckpointFiles, config: PretrainedConfig) -> None:
    if config.num_labels == 1:
        return
    if files.base is None and (other := other_architecture(config)):
        raise CheckpointError(
            f"{files.name} is a {other}: a reranker is a sequence classifier with one logit, or a language model "
            "with a recipe; a base model has no head yet, and an embedding model reads query and document apart"
        )
    raise CheckpointError(
        f"{files.name} has {config.num_labels} logits: a reranker has exactly one, and which of these, or what of "
        "them, is the relevance cannot be told: serve a checkpoint with one label"
    )


def from_anywhere(settings: CheckpointSettings) -> CheckpointSettings:
    """The same settings for a process with another working directory: a local path becomes absolute.

    A link is followed, so that all processes read one checkpoint although it may change; it stays one where only its
    name says which known model it is.
    """
    path = Path(settings.model).expanduser()
    if settings.model == EMBEDDED or not path.is_dir():
        return settings
    given, followed = path.absolute(), path.resolve()
    told_by_link = known_for(str(given)) != known_for(str(followed))
    return settings.model_copy(update={"model": str(given if told_by_link else followed)})


def _local_directory(model: str, revision: str | None, *, weights: bool) -> Path:
    if model == EMBEDDED:
        return Path(__file__).parents[1] / "embedded"
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        raise CheckpointError(
            f"{model} is a file: name the directory of a checkpoint, with its config.json, tokenizer.json and "
            "weights in safetensors"
        )
    if "@" in model:
        name, _, wanted = model.partition("@")
        raise CheckpointError(f"{model} is no hub id: name the model {name}, and {wanted} as its revision")
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise CheckpointError(f"{model} is not a directory on this machine")

    def download(*patterns: str) -> Path:
        return Path(huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=list(patterns)))

    with as_checkpoint_error(model):
        directory = download(*_SMALL_FILES, *(["*.safetensors"] if weights else []))
        if weights and not weight_files(directory):
            download(_PYTORCH_FILES)
        return directory


def _base_of(adapter: Path, *, weights: bool) -> Path:
    """The directory of an adapter's base model. A relative path starts at the adapter, else where Python runs."""
    config = adapter_config(adapter)
    name = str(config["base_model_name_or_path"])
    beside = adapter / Path(name).expanduser()
    try:
        base = beside if beside.is_dir() else _local_directory(name, config.get("revision"), weights=weights)
    except CheckpointError as error:
        raise CheckpointError(f"{adapter.name} is an adapter, and its base model is not there: {error}") from error
    if not (base / "config.json").is_file():
        raise CheckpointError(f"{base}, the base model of {adapter.name}, has no config.json: it is no whole model")
    return base.resolve()
