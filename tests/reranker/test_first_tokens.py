"""The first tokens of a text, from its head alone, are those of the whole text, for tokenizers of every kind."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

import reranker.embedded
from reranker.errors import CheckpointError
from reranker.first_tokens import FirstTokens, LongText
from tests.checkpoints import SAMPLE_TEXTS

TEXTS = [
    *SAMPLE_TEXTS,
    "aaaa bbb 1234567 " + "2 22 222 " * 9,
    "潮汐 表 مد وجزر",
    "the  tide\n\ntable\tof   the harbour",
]


BYTES = pre_tokenizers.ByteLevel.alphabet()


def embedded() -> Tokenizer:
    """The embedded BERT's WordPiece."""
    return Tokenizer.from_file(str(Path(reranker.embedded.__file__).with_name("tokenizer.json")))


def llama_3() -> Tokenizer:
    """Byte-level BPE with Llama 3's expression for words."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=500, initial_alphabet=BYTES))


def gpt_2() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=500, initial_alphabet=BYTES))


def grouped_digits() -> Tokenizer:
    """Digits are grouped from the right, so how a number begins depends on how long it is."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    groups = pre_tokenizers.Split(Regex(r"\p{N}{1,3}(?=(\p{N}{3})*(?!\p{N}))|[^\p{N}\s]+|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([groups, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return trained(tokenizer, trainers.BpeTrainer(vocab_size=400, initial_alphabet=BYTES))


def llama_2() -> Tokenizer:
    """SentencePiece BPE as converted for Llama 2: no words, the whole text is merged at once."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trained(
        tokenizer,
        trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", *(f"<0x{n:02X}>" for n in range(256))]),
    )
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def xlm_r() -> Tokenizer:
    """SentencePiece Unigram as converted for XLM-R."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"])
    return trained(tokenizer, trainer)


def unsplit_unigram() -> Tokenizer:
    """Unigram over the whole text, spaces stripped at both ends."""
    tokenizer = xlm_r()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return tokenizer


def trained(tokenizer: Tokenizer, trainer: trainers.Trainer) -> Tokenizer:
    trainer.show_progress = False  # type: ignore[attr-defined]
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


TOKENIZERS: list[Callable[[], Tokenizer]] = [
    embedded,
    llama_3,
    gpt_2,
    grouped_digits,
    llama_2,
    xlm_r,
    unsplit_unigram,
]
ADDED = ["<mask>", "[SEP]", "tide table", "«longer than most added tokens»"]


@cache
def tokenizer_of(make: Callable[[], Tokenizer]) -> Tokenizer:
    """With added tokens that swallow the spaces around them, that are words, that contain a space."""
    tokenizer = make()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("[SEP]", rstrip=True)])
    tokenizer.add_tokens([AddedToken("tide table", normalized=True, single_word=True), ADDED[-1]])
    return tokenizer


ASCII = [
    "tide",
    "table ",
    " the",
    "a",
    "ab ",
    "2",
    "12,345",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    ".",
    "!?",
    "'s",
    "<ma",
    "SEP]",
]
OTHERS = ["潮", "汐。", "مد ", "é", "ﬁ", "ﷺ", "İ", "Σ", "½", "²", "🇩", "🏽", "▁", "Ġ", "\u3000", "\ud800", "\ufffd"]
MARKS = ["e\u0301", "\u0301", "\u0323", "\u1112\u1161", "\u11ab", "👩\u200d", "\u200b", "\x00", "\u00ad"]
UNITS = st.sampled_from([*ADDED, *ASCII, *OTHERS, *MARKS])
LONG = st.lists(st.tuples(UNITS, st.sampled_from([1, 1, 1, 2, 5, 70, 700])), min_size=1, max_size=60).map(
    lambda parts: "".join(unit * times for unit, times in parts)
)
MIXED = st.tuples(LONG, st.lists(UNITS, min_size=100, max_size=400).map("".join), LONG).map("".join)


@pytest.mark.parametrize("make", TOKENIZERS)
@settings(max_examples=40)
@given(texts=st.lists(LONG | MIXED, min_size=1, max_size=3), limit=st.integers(1, 40))
def test_first_tokens_are_those_of_the_whole_text(
    make: Callable[[], Tokenizer], texts: list[str], limit: int
) -> None:
    first = FirstTokens(tokenizer_of(make))
    for text, whole, ids in zip(texts, first.ids(texts, None), first.ids(texts, limit), strict=True):
        assert len(ids) >= min(limit, len(whole))
        assert ids.tolist() == whole[: len(ids)].tolist()
        starts = first.starts(text, limit)
        assert len(starts) >= min(limit, len(whole))
        assert starts == first.starts(text, len(whole) + 1)[: len(starts)]


@pytest.mark.parametrize("make", TOKENIZERS)
def test_only_the_head_of_a_long_text_is_tokenized(make: Callable[[], Tokenizer]) -> None:
    """A text of many words is cut where nothing of it may be tokenized whole."""
    first = FirstTokens(tokenizer_of(make))
    text = "the tide table, of 324 metres. " * 10_000
    ids = first.ids([text], 50, max_whole_chars=0)[0]
    assert 50 <= len(ids) < 2_000
    assert ids.tolist() == first.ids([text[:20_000]], None)[0][: len(ids)].tolist()
    assert len(first.starts(text, 50, max_whole_chars=0)) == len(ids)


def test_chinese_without_spaces_is_cut_between_its_words() -> None:
    first = FirstTokens(tokenizer_of(embedded))
    assert len(first.ids(["潮汐表" * 100_000], 50, max_whole_chars=0)[0]) < 1_000


ONE_WORD = {
    "a word": "tide" * 10_000,
    "spaces": "a" + " " * 40_000 + "b",
    "combining marks": "e" + "\u0301" * 40_000,
    "one added token": "[SEP]" + " " * 40_000,
}


@pytest.mark.parametrize("text", ONE_WORD.values(), ids=ONE_WORD)
def test_text_without_a_place_to_cut_is_tokenized_whole_or_refused(text: str) -> None:
    first = FirstTokens(tokenizer_of(llama_3))
    whole = first.ids([text], None)[0].tolist()
    assert first.ids([text], 50)[0].tolist() == whole
    assert first.ids([text], 50, max_whole_chars=len(text))[0].tolist() == whole
    for tokenize in (lambda: first.ids(["a", text], 50, 10_000), lambda: first.starts(text, 50, 10_000)):
        with pytest.raises(LongText) as caught:
            tokenize()
        assert caught.value.limit_chars == 10_000


@pytest.mark.parametrize(("limit", "max_whole_chars", "longest"), [(None, 30, 30), (50, 2_000, 2_000), (50, 0, 912)])
def test_longest_text_that_may_be_tokenized_whole(limit: int | None, max_whole_chars: int, longest: int) -> None:
    """Whatever the limit, a text no longer than the first head of 8 characters a token and 512 more is."""
    first = FirstTokens(tokenizer_of(embedded))
    first.ids(["a", "a" * longest], limit, max_whole_chars)
    with pytest.raises(LongText) as caught:
        first.ids(["a", "a" * (longest + 1)], limit, max_whole_chars)
    assert (caught.value.index, caught.value.limit_chars) == (1, max_whole_chars)
    if limit is not None:
        first.starts("a" * longest, limit, max_whole_chars)
        with pytest.raises(LongText) as caught:
            first.starts("a" * (longest + 1), limit, max_whole_chars)
        assert (caught.value.index, caught.value.limit_chars) == (0, max_whole_chars)


def test_texts_of_any_length_keep_their_order() -> None:
    first = FirstTokens(tokenizer_of(embedded))
    long, word = "tide " * 100, "x" * (2**17 + 1)
    texts = ["a", word, long, "", "b", word + "y", long * 100]
    alone = [first.ids([text], None)[0].tolist() for text in texts]
    assert [ids.tolist() for ids in first.ids(texts, None)] == alone
    for ids, whole in zip(first.ids(texts, 5), alone, strict=True):
        assert ids.tolist() == whole[: len(ids)]
        assert len(ids) >= min(5, len(whole))
    assert first.ids([], 5) == first.ids([], None) == []


@pytest.mark.parametrize("split", [False, True])
def test_tokenizer_is_read_as_its_own_call_reads_and_is_left_as_it_was(split: bool) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=embedded(), sep_token="[SEP]", split_special_tokens=split)
    text = "tide [SEP] table " * 5
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    assert FirstTokens.of(tokenizer).ids([text], None)[0].tolist() == expected
    assert len(tokenizer.backend_tokenizer.encode(text).ids) == 64
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 4


def test_tokenizer_may_have_as_many_tokens_as_the_model_has_embeddings() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=embedded())
    words = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    tokenizer.add_tokens(["«one»", "«two»"])
    spelled = FirstTokens.of(tokenizer, words).ids(["«one»«two»"], None)[0]
    assert max(spelled) < words
    assert FirstTokens.of(tokenizer, words + 1).ids(["«one»«two»"], None)[0][0] == words
    assert FirstTokens.of(tokenizer, words + 2).ids(["«one»«two»"], None)[0].tolist() == [words, words + 1]
    with pytest.raises(CheckpointError, match=f"has {words} tokens, its model {words - 1}: they do not belong"):
        FirstTokens.of(tokenizer, words - 1)
