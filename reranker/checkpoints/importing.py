"""Copy a checkpoint and write its `reranker.json`: template, max length, and golden scores from Hugging Face.

The golden scores come from the model card's own loop, not from our engine, so that replaying them compares a replica
with the reference and not with itself.
"""

import logging
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers

from reranker.checkpoints.files import load_encoder, load_module, load_tokenizer, locate
from reranker.checkpoints.manifest import MANIFEST_NAME, GoldenPair, Manifest, write_manifest
from reranker.checkpoints.reference import reference_inputs, reference_logits
from reranker.errors import CheckpointError
from reranker.settings import CheckpointSettings
from reranker.types import Passage

log = logging.getLogger(__name__)

_LONG = (
    "The tide table lists high and low water for each harbour, in local time, with the height in metres above "
    "chart datum. Heights vary with wind and air pressure, and a strong onshore gale can hold the water back. "
)

# Each pair covers a case that a wrong template, truncation, tokenizer or head would change.
GOLDEN_TEXTS: tuple[tuple[str, Passage], ...] = (
    ("when is high tide", Passage(_LONG, "Reading a tide table")),
    ("when is high tide", Passage(_LONG)),
    ("when is high tide", Passage("Bread rises because yeast makes carbon dioxide.", "Baking")),
    ("what makes bread rise", Passage("Bread rises because yeast makes carbon dioxide.", "Baking")),
    ("what makes bread rise", Passage("yeast")),
    ("what makes bread rise", Passage("")),
    ("how tall is the tower", Passage("", "How tall is the tower?")),
    ("when is high tide", Passage(_LONG * 12, "Longer than any pair")),
    (_LONG * 12, Passage("Query longer than any pair.")),
    (_LONG * 12, Passage(_LONG * 12, "Both longer than any pair")),
    ("¿dónde está la estación?", Passage("La estación está al norte del río; el andén 3 es para Sevilla.")),
    ("什么是潮汐", Passage("潮汐是海水周期性的涨落现象。", "潮汐")),
    ("ما هو المد", Passage("المد والجزر حركة دورية لمياه البحر.")),
    ("🌊 emoji", Passage("Waves 🌊🌊 and 👩‍👩‍👧 families, tabs\tand\nnew lines.", "emoji 🏄")),
    (
        "a text that spells [SEP] or <|end_of_text|>",
        Passage("[CLS] [SEP] </s> <|end_of_text|> <|begin_of_text|> [PAD]"),
    ),
    ("x", Passage("y", "z")),
)


def import_checkpoint(settings: CheckpointSettings, output: Path) -> Manifest:
    """Copy the checkpoint (a hub id is downloaded first) to `output` with a new `reranker.json`.

    Needs memory for the weights in float32. Raises CheckpointError, also when `output` is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output} is not an empty directory: choose another --output")
    files = locate(settings, weights=True)
    encoder = load_encoder(settings, files)
    tokenizer = load_tokenizer(files, trust_remote_code=settings.trust_remote_code)
    logits = {}
    for dtype in (torch.float32, torch.bfloat16):
        module = load_module(files, dtype=dtype, device="cpu", trust_remote_code=settings.trust_remote_code)
        logits[dtype] = reference_logits(
            module, tokenizer, encoder.template, encoder.max_pair_tokens, GOLDEN_TEXTS, padded=encoder.pad is not None
        )
        del module
    if not np.isfinite(logits[torch.float32]).all():
        raise CheckpointError(f"{files.name} gives logits that are not finite: its weights may be damaged")
    log.info("%s: pooling %s", files.name, encoder.pooling)
    manifest = Manifest(
        template=encoder.template.name,
        max_pair_tokens=encoder.max_pair_tokens,
        pooling="last" if encoder.pad is None else "padded",
        token_types=encoder.layout.sends_types,
        made_with=f"torch {torch.__version__}, transformers {transformers.__version__}",
        golden=tuple(
            GoldenPair(
                query=query,
                title=passage.title,
                text=passage.text,
                input_ids=tuple(
                    reference_inputs(tokenizer, encoder.template, encoder.max_pair_tokens, query, passage)
                    .input_ids[0]
                    .tolist()
                ),
                logit=float(full),
                logit_bfloat16=float(half),
            )
            for (query, passage), full, half in zip(
                GOLDEN_TEXTS, logits[torch.float32], logits[torch.bfloat16], strict=True
            )
        ),
    )
    ignore = shutil.ignore_patterns(MANIFEST_NAME, ".*", "__pycache__", "*.py")
    shutil.copytree(files.directory, output, dirs_exist_ok=True, ignore=ignore)
    write_manifest(output, manifest)
    return manifest
