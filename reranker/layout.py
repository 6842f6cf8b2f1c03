"""What a tokenizer puts around the texts of a pair, and the pad token behind it. Knows nothing of texts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from reranker.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class PairLayout:
    """The special tokens a tokenizer puts around a pair: head, query, middle, passage, tail.

    prefix_type, passage_type: token type ids. The last `middle_passage_typed` tokens of the middle have the passage's
    type (as the second BOS of Llama 3 has). sends_types: whether the model is given them; some tokenizers do not.
    """

    head: tuple[int, ...]
    middle: tuple[int, ...]
    tail: tuple[int, ...]
    prefix_type: int
    passage_type: int
    middle_passage_typed: int
    sends_types: bool = True

    @property
    def special_tokens(self) -> int:
        return len(self.head) + len(self.middle) + len(self.tail)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> PairLayout:
        """Derive the layout from one tokenized pair. Raises CheckpointError if the pair cannot be split.

        Types are sent if the tokenizer returns them unasked, because that is what a user's own loop sends.
        """
        probe = tokenizer("a", "b", return_token_type_ids=True)
        ids, owners, types = probe["input_ids"], probe.sequence_ids(), probe["token_type_ids"]
        try:
            query, passage = owners.index(0), owners.index(1)
        except ValueError:
            raise CheckpointError("its tokenizer does not encode pairs: the text of the pair is missing") from None
        query_end = len(owners) - owners[::-1].index(0)
        passage_end = len(owners) - owners[::-1].index(1)
        switch = next((at for at, kind in enumerate(types) if kind != types[0]), passage)
        if not query_end <= switch <= passage or len(set(types[switch:])) != 1:
            raise CheckpointError("its tokenizer does not encode a pair as query, then passage")
        return cls(
            head=tuple(ids[:query]),
            middle=tuple(ids[query_end:passage]),
            tail=tuple(ids[passage_end:]),
            prefix_type=types[0],
            passage_type=types[passage],
            middle_passage_typed=passage - switch,
            sends_types="token_type_ids" in tokenizer("a", "b"),
        )


@dataclass(frozen=True, slots=True)
class PadToken:
    """A pad token behind a pair, at which its logit is read. It attends to the pair, and nothing attends to it.

    position: its column in a padded batch, the last one.
    """

    token_id: int
    position: int


def special_tokens_of_text(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens a tokenizer puts before one text and behind it. Raises CheckpointError without a text."""
    probe = tokenizer("a")
    ids, owners = probe["input_ids"], probe.sequence_ids()
    if 0 not in owners:
        raise CheckpointError("its tokenizer does not encode texts: it has no token for the letter a")
    start = owners.index(0)
    end = len(owners) - owners[::-1].index(0)
    return tuple(ids[:start]), tuple(ids[end:])
