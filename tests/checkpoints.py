"""Writes small random checkpoints of both families, with the files that a user would have on disk.

The Llama is shaped like Llama 3: grouped-query attention, `llama3` rope scaling, a byte-level BPE whose pair template
has two BOS, and no pad token. Head weights are scaled so that logits of different passages differ by about 1.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

SAMPLE_TEXTS = [
    "The tide table lists high and low water for each harbour, in local time.",
    "Bread rises because yeast turns sugar into carbon dioxide and alcohol.",
    "query: when is high tide document: Reading a tide table",
    "A transformer reads a query and a passage together and gives one number.",
    "La estación está al norte del río; el andén tres es para Sevilla.",
    "Numbers such as 1, 22, 333 and 4096 are written in digits; so are 3.14 and 2.71.",
    "How tall is the tower, and who built it? The tower is 324 metres tall.",
]
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"


def write_llama(
    directory: Path,
    *,
    layers: int = 3,
    width: int = 64,
    heads: int = 4,
    vocabulary: int = 400,
    pad_is_eos: bool = False,
    config_pad: int | str | None = "tokenizer's",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """pad_is_eos: use the end-of-text token as the pad token, as many Llama rerankers on the hub do.

    config_pad: another pad id in the config than the tokenizer's, as DeAR's training leaves it.
    """
    tokenizer = _byte_level_bpe(vocabulary)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=1024,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
        num_labels=1,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=(1 if pad_is_eos else None) if config_pad == "tokenizer's" else config_pad,
        initializer_range=0.15,
    )
    model = LlamaForSequenceClassification(config).to(dtype)
    torch.nn.init.normal_(model.score.weight, std=2 / width**0.5)
    model.save_pretrained(directory)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS if pad_is_eos else None,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=1024,
    ).save_pretrained(directory)
    return directory


def write_bert(
    directory: Path,
    *,
    architecture: str = "bert",
    labels: int = 1,
    token_types: bool = True,
    seed: int = 0,
    **config_keys: object,
) -> Path:
    """token_types: whether the tokenizer returns token_type_ids; some tokenizers of the hub do not."""
    tokenizer = _word_pieces(400)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=512,
        num_labels=labels,
        pad_token_id=0,
        initializer_range=0.2,
        **config_keys,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    for name, weight in model.named_parameters():
        if "classifier" in name and weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(directory)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"],
        model_max_length=512,
    ).save_pretrained(directory)
    return directory


def write_lora(directory: Path, base: Path, *, task: str = "SEQ_CLS") -> Path:
    """A LoRA adapter over `base` with nonzero weights; a classifier has a head. task: as peft calls it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(7)
    config = LoraConfig(task_type=task, r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    classifies = task == "SEQ_CLS"
    kind, labels = (
        (AutoModelForSequenceClassification, {"num_labels": 1}) if classifies else (AutoModelForCausalLM, {})
    )
    model = get_peft_model(kind.from_pretrained(base, **labels), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.normal_(std=0.2)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(directory)
    return directory


def rewrite_json(path: Path, **changes: object) -> None:
    """Change keys of a JSON object on disk."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _byte_level_bpe(vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE_TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, 0)]
    )
    return tokenizer


def _word_pieces(vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(SAMPLE_TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def write_language_model(
    directory: Path, architecture: str = "qwen3", *, seed: int = 0, **config_keys: object
) -> Path:
    """A causal language model, or a T5, with the tokenizer of `write_llama`, but no special tokens around a text."""
    torch.manual_seed(seed)
    is_t5 = architecture in ("t5", "mt5")
    sizes: dict[str, object] = (
        {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
        if is_t5
        else {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 1024,
        }
    )
    keys = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, **sizes, **config_keys}
    config = AutoConfig.for_model(architecture, **keys)
    model = (AutoModelForSeq2SeqLM if is_t5 else AutoModelForCausalLM).from_config(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(
                weight, std=0.5 if "embed" in name or "shared" in name else 1.2 / weight.shape[1] ** 0.5
            )
    model.save_pretrained(directory)
    tokenizer = _byte_level_bpe(400)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=1024,
    ).save_pretrained(directory)
    return directory
