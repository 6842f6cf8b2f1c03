"""Golden pairs: texts, token ids and logits of the authors' own loop with Hugging Face.

They come from that loop and not from our engine, so that replaying them compares a replica with the reference and
not with itself.
"""

from __future__ import annotations

import numpy as np
import torch

from reranker.checkpoints.files import CheckpointFiles, load_tokenizer
from reranker.checkpoints.manifest import GoldenPair
from reranker.checkpoints.modules import load_module
from reranker.checkpoints.pooling import pad_with_end_token
from reranker.checkpoints.reference import reference_inputs, reference_logits
from reranker.encoder import Encoder
from reranker.errors import CheckpointError
from reranker.types import Passage

_LONG = (
    "The tide table lists high and low water for each harbour, in local time, with the height in metres above "
    "chart datum. Heights vary with wind and air pressure, and a strong onshore gale can hold the water back. "
)

# Each pair covers a case that a wrong template, truncation, tokenizer or head would change.
_EDGES: tuple[tuple[str, Passage], ...] = (
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
# Ordinary pairs: the more there are, the smaller are the errors that rounding to half precision hides.
_ANSWERS: tuple[tuple[str, str], ...] = (
    ("how are tides caused", "The moon's gravity pulls the oceans towards it, which raises two tides a day."),
    ("who painted the water lilies", "Claude Monet painted his garden pond at Giverny about 250 times."),
    ("symptoms of iron deficiency", "A lack of iron makes people tired, pale and short of breath."),
    ("what is a hash table", "A hash table stores values under keys and finds one in constant time on average."),
    ("when did the berlin wall fall", "Crowds opened the border on the night of 9 November 1989."),
    ("how to boil an egg", "Put the egg in boiling water for six minutes, then cool it under the tap."),
    ("capital of australia", "Canberra, founded in 1913, is the seat of the Australian government."),
    ("why is the sky blue", "Air scatters short wavelengths more than long ones, so the sky looks blue."),
    ("how long do cats live", "Indoor cats often reach fifteen years, and some live past twenty."),
    ("python read file line by line", "Iterating over an open file object yields one line at a time."),
    ("what causes inflation", "Prices rise when demand grows faster than the supply of goods."),
    ("distance from earth to the moon", "On average the moon is 384,400 kilometres away."),
    (
        "offside rule in football",
        "A player is offside if nearer to the goal line than ball and second-last opponent.",
    ),
    ("how does a vaccine work", "A vaccine shows the immune system a harmless part of a germ to remember."),
    (
        "best time to plant tomatoes",
        "Plant tomatoes outdoors after the last frost, when nights stay above ten degrees.",
    ),
    ("what is compound interest", "Interest is added to the principal, so the next interest is paid on both."),
)
_OTHER = 5  # each query also gets the answer this many places on, which is not about it

GOLDEN_TEXTS: tuple[tuple[str, Passage], ...] = (
    *_EDGES,
    *((query, Passage(answer)) for query, answer in _ANSWERS),
    *((query, Passage(_ANSWERS[(number + _OTHER) % len(_ANSWERS)][1])) for number, (query, _) in enumerate(_ANSWERS)),
)


def golden_pairs(
    files: CheckpointFiles, encoder: Encoder, *, trust_remote_code: bool = False
) -> tuple[GoldenPair, ...]:
    """GOLDEN_TEXTS with Hugging Face's ids and logits. Needs memory for the weights in float32.

    Raises CheckpointError, also when logits are not finite.
    """
    tokenizer = load_tokenizer(files, trust_remote_code=trust_remote_code)
    if encoder.pad is not None:
        pad_with_end_token(tokenizer)
    template, max_pair_tokens = encoder.template, encoder.max_pair_tokens
    full, half = (
        reference_logits(
            load_module(files, dtype=dtype, device="cpu", recipe=encoder.recipe, trust_remote_code=trust_remote_code),
            tokenizer,
            template,
            max_pair_tokens,
            GOLDEN_TEXTS,
            padded=encoder.pad is not None,
            token_weights=encoder.token_weights,
            mean=encoder.recipe.pooling == "mean",
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    if not np.isfinite([full, half]).all():
        raise CheckpointError(f"{files.name} gives logits that are not finite: its weights may be damaged")
    return tuple(
        GoldenPair(
            query=query,
            title=passage.title,
            text=passage.text,
            input_ids=tuple(
                reference_inputs(tokenizer, template, max_pair_tokens, query, passage).input_ids[0].tolist()
            ),
            logit=float(logit),
            logit_bfloat16=float(logit_bfloat16),
        )
        for (query, passage), logit, logit_bfloat16 in zip(GOLDEN_TEXTS, full, half, strict=True)
    )
