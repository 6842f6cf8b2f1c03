"""Locates a checkpoint by directory or hub id, and loads its tokenizer, encoder, config and torch module.

Knows nothing of batches or scores. Everything is loaded from a local directory: `locate` downloads a hub id into the
hub's cache, and nothing else uses the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from reranker.checkpoints.adapter import adapter_config, embedding_rows, merge_adapter
from reranker.checkpoints.hugging_face import as_checkpoint_error, offline
from reranker.checkpoints.lfs import check_no_pointers
from reranker.checkpoints.manifest import Manifest, read_manifest
from reranker.checkpoints.pooling import check_can_pad, choose_pooling, describe, pad_token_read, pooling_warning
from reranker.checkpoints.positions import positions_of
from reranker.checkpoints.prompts import prompts_warning
from reranker.checkpoints.weight_files import ADAPTER_CONFIG, weight_files
from reranker.encoding import PairEncoder
from reranker.errors import CheckpointError
from reranker.prompt import template_named
from reranker.settings import CheckpointSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

EMBEDDED = "embedded"
DEAR_PAIR_TOKENS = 228
MAX_BARE_PAIR_TOKENS = 512
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
        raise CheckpointError(f"{directory} has neither config.json nor {ADAPTER_CONFIG}: it is not a checkpoint")
    check_no_pointers(directory, weights=weights)
    base = None
    if (directory / ADAPTER_CONFIG).is_file():
        base = _base_of(directory, weights=weights)
        check_no_pointers(base, weights=weights)
    return CheckpointFiles(settings.model_name, directory, base, read_manifest(directory))


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


def load_encoder(settings: CheckpointSettings, files: CheckpointFiles | None = None) -> PairEncoder:
    """The pair encoder of a checkpoint; needs no weights. Raises CheckpointError.

    Settings override the checkpoint's manifest. Without a manifest the defaults are the DeAR template at 228 tokens
    for a DeAR checkpoint, else the bare template at the model's max length, at most 512.
    """
    files = files or locate(settings, weights=False)
    tokenizer = load_tokenizer(files, trust_remote_code=settings.trust_remote_code)
    config = load_config(files, trust_remote_code=settings.trust_remote_code)
    longest = min(positions_of(config, files.name) or tokenizer.model_max_length, tokenizer.model_max_length)
    if files.manifest is not None:
        template, max_pair_tokens = files.manifest.template, files.manifest.max_pair_tokens
    elif _is_dear(settings.model):
        template, max_pair_tokens = "dear", DEAR_PAIR_TOKENS
    else:
        template, max_pair_tokens = "bare", min(longest, MAX_BARE_PAIR_TOKENS)
    warnings: list[str | None] = []
    if files.manifest is None and (settings.template == "auto" or settings.max_pair_tokens is None):
        warnings.append(f"has no reranker.json: assuming template {template}, {max_pair_tokens} tokens")
    if settings.template != "auto":
        template = settings.template
    if settings.max_pair_tokens is not None:
        max_pair_tokens = settings.max_pair_tokens
    if max_pair_tokens > longest:
        raise CheckpointError(f"max_pair_tokens {max_pair_tokens} exceeds the {longest} that {files.name} reads")
    embeddings = getattr(config.get_text_config(), "vocab_size", None)
    if files.base is not None:  # it may add rows that its base model's config does not count
        embeddings = embedding_rows(files.directory) or embeddings
    recorded = files.manifest.pooling if files.manifest is not None else None
    sends_types = files.manifest.token_types if files.manifest is not None else None
    pad = pad_token_read(config, tokenizer, max_pair_tokens, embeddings)
    pooling = choose_pooling(settings.pooling, recorded, template, pad)
    warnings += [pooling_warning(pooling, pad), prompts_warning(*filter(None, (files.directory, files.base)))]
    if pooling == "padded":
        check_can_pad(tokenizer, embeddings, files.name)
    return PairEncoder(
        tokenizer,
        template_named(template),
        max_pair_tokens,
        embeddings,
        sends_types,
        pad if pooling == "padded" else None,
        describe(pooling, pad),
        tuple(filter(None, warnings)),
    )


def load_config(files: CheckpointFiles, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """Raises CheckpointError unless the config has exactly one logit."""
    with as_checkpoint_error(files.name), offline():
        config: PretrainedConfig = AutoConfig.from_pretrained(
            files.base or files.directory,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            **({"num_labels": 1} if files.base else {}),
        )
    if config.num_labels == 1:
        return config
    if files.base is None and (other := _other_architecture(config)):
        raise CheckpointError(f"{files.name} is a {other}: a reranker is a sequence classifier with one logit")
    raise CheckpointError(f"{files.name} has {config.num_labels} logits: a reranker has exactly one")


def load_module(
    files: CheckpointFiles, *, dtype: torch.dtype, device: str, trust_remote_code: bool = False
) -> PreTrainedModel:
    """The one-logit model in eval mode, with a LoRA adapter merged. Raises CheckpointError.

    That includes a head missing from the files, which transformers would initialize at random.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # one per replica would clutter the log
    config = load_config(files, trust_remote_code=trust_remote_code)
    with as_checkpoint_error(files.name), offline():
        module, loaded = AutoModelForSequenceClassification.from_pretrained(
            files.base or files.directory,
            config=config,
            dtype=dtype,
            device_map=device,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        missing = set(loaded["missing_keys"])
        if files.base is not None:
            module, missing = merge_adapter(module, files.directory, missing), set()
    if missing:
        advice = "is it a one-logit sequence classifier?"
        if other := _other_architecture(config):
            advice = f"it is a {other}, and a reranker is a sequence classifier with one logit"
        names = ", ".join(sorted(missing)[:3])
        raise CheckpointError(f"{files.name} lacks weights its config requires ({names}): {advice}")
    if loaded["mismatched_keys"]:
        raise CheckpointError(f"the weights of {files.name} do not match its config: {loaded['mismatched_keys']}")
    return module.eval().requires_grad_(False)  # type: ignore[no-any-return]


def from_anywhere(settings: CheckpointSettings) -> CheckpointSettings:
    """The same settings for a process with another working directory: a local path becomes absolute."""
    path = Path(settings.model).expanduser()
    if settings.model == EMBEDDED or not path.is_dir():
        return settings
    return settings.model_copy(update={"model": str(path.resolve())})


def _local_directory(model: str, revision: str | None, *, weights: bool) -> Path:
    if model == EMBEDDED:
        return Path(__file__).parents[1] / "embedded"
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
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


def _other_architecture(config: PretrainedConfig) -> str | None:
    """The architecture that a config names, unless it is a sequence classifier."""
    names = config.architectures or []
    return next((name for name in names if not name.endswith("ForSequenceClassification")), None)


def _is_dear(model: str) -> bool:
    return Path(model).name.lower().startswith("dear-")
