"""Pair encoding: token ids equal those of Hugging Face's own call, for any texts and any max length."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from reranker.checkpoints.files import EMBEDDED, load_tokenizer, locate
from reranker.encoding import PairEncoder
from reranker.errors import CheckpointError, InvalidField, UnscorableDocument
from reranker.prompt import BARE, DEAR, PromptTemplate
from reranker.settings import CheckpointSettings
from reranker.types import MAX_WINDOWS, Passage

WORDS = st.sampled_from(
    [
        "tide",
        "bread",
        "the",
        "🌊",
        "مد",
        "潮汐",
        "[SEP]",
        "<|end_of_text|>",
        "<|begin_of_text|>",
        "[PAD]",
        "\x00",
        "\n",
    ]
)
TEXTS = st.text(max_size=40) | st.lists(WORDS, max_size=120).map(" ".join)


@cache
def tokenizer_of(model: str) -> PreTrainedTokenizerBase:
    return load_tokenizer(locate(CheckpointSettings(model=model), weights=False))


@pytest.fixture(params=["bert", "llama", "embedded"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    name = request.param
    return tokenizer_of(EMBEDDED if name == EMBEDDED else str(request.getfixturevalue(name)))


@pytest.mark.parametrize("template", [DEAR, BARE], ids=["dear", "bare"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=TEXTS, passages=st.lists(st.tuples(TEXTS, TEXTS), max_size=4), length=st.sampled_from([7, 16, 33, 228]))
def test_pair_encoder_gives_hugging_faces_ids_types_and_truncation(
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    query: str,
    passages: list[tuple[str, str]],
    length: int,
) -> None:
    encoder = PairEncoder(tokenizer, template, length)
    given_passages = [Passage(text, title) for text, title in passages]

    pairs = encoder.encode(query, given_passages)

    assert len(pairs) == len(passages)
    for number, passage in enumerate(given_passages):
        texts = ([template.query(query)], [template.passage(passage)])
        whole = tokenizer(*texts)["input_ids"][0]
        cut = tokenizer(*texts, truncation="longest_first", max_length=length, return_token_type_ids=True)
        ids = cut["input_ids"][0]
        assert pairs.pair_ids(number).tolist() == ids
        prefix = int(pairs.prefix_lengths[number]) - encoder.layout.middle_passage_typed
        types = [encoder.layout.prefix_type] * prefix + [encoder.layout.passage_type] * (len(ids) - prefix)
        assert types == cut["token_type_ids"][0]
        assert pairs.truncated[number] == (len(whole) > len(ids))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    query=st.lists(WORDS, max_size=12).map(" ".join),
    passage=st.lists(WORDS, min_size=2, max_size=12).map(" ".join),
    times=st.integers(10, 30),
    long_query=st.booleans(),
    length=st.sampled_from([16, 17, 33]),
)
def test_long_texts_are_encoded_from_their_heads_as_if_read_whole(
    tokenizer: PreTrainedTokenizerBase, query: str, passage: str, times: int, long_query: bool, length: int
) -> None:
    """Also where both are cut, and the longer one gets the odd token of an odd budget."""
    encoder = PairEncoder(tokenizer, BARE, length)
    texts = [Passage((passage + " ") * times, "title"), Passage(passage), Passage((passage + ".") * times)]
    query = (query + " a ") * (times if long_query else 1)
    pairs = encoder.encode(query, texts)
    for number, text in enumerate(texts):
        ids = tokenizer([query], [BARE.passage(text)], truncation="longest_first", max_length=length)["input_ids"][0]
        assert pairs.pair_ids(number).tolist() == ids


def test_document_without_a_place_to_cut_is_refused_by_its_index(llama: Path) -> None:
    encoder = PairEncoder(tokenizer_of(str(llama)), DEAR, 48)
    hostile = "a" * 100_000
    with pytest.raises(UnscorableDocument, match=r"document 1 cannot be scored .*9000 characters"):
        encoder.encode("q", [Passage("b " * 100_000), Passage(hostile)], max_whole_chars=9_000)
    with pytest.raises(UnscorableDocument, match="document 0"):
        encoder.encode("q", [Passage(hostile, "t")], "max_passage", max_whole_chars=9_000)
    with pytest.raises(InvalidField, match="query: has more than 9000 characters"):
        encoder.encode(hostile, [Passage("b")], max_whole_chars=9_000)
    assert (
        len(PairEncoder(tokenizer_of(str(llama)), DEAR, 49).encode("b " * 9_999, [Passage("b")], "model", 9_000)) == 1
    )
    assert len(encoder.encode(hostile, [Passage(hostile)])) == 1


def test_pairs_of_one_query_share_a_prefix_unless_the_query_is_truncated(llama: Path) -> None:
    encoder = PairEncoder(tokenizer_of(str(llama)), DEAR, 40)
    short = encoder.encode("tide", [Passage("bread " * n) for n in (0, 3, 50)])
    assert len(short.prefix_offsets) - 1 == 1
    long = encoder.encode("tide " * 30, [Passage("bread " * n) for n in (0, 3, 50)])
    assert len(long.prefix_offsets) - 1 > 1


def test_empty_title_leaves_two_spaces_in_the_dear_template_and_none_in_the_bare_one() -> None:
    assert DEAR.passage(Passage("text")) == "document:  text"
    assert DEAR.passage(Passage("text", "title")) == "document: title text"
    assert BARE.passage(Passage("text")) == "text"
    assert BARE.passage(Passage("text", "title")) == "title text"


def test_lone_surrogates_are_encoded_as_replacement_characters(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = PairEncoder(tokenizer, DEAR, 64)
    broken, repaired = (encoder.encode(f"a{c}", [Passage(f"b{c}", c)]) for c in ("\ud800", "\ufffd"))
    assert broken.pair_ids(0).tolist() == repaired.pair_ids(0).tolist()


def test_max_pair_tokens_without_room_for_text_is_refused(llama: Path) -> None:
    with pytest.raises(CheckpointError, match="leaves no room"):
        PairEncoder(tokenizer_of(str(llama)), DEAR, 3)


@pytest.fixture
def windowed(llama: Path) -> Callable[[str, list[Passage]], tuple[list[str], list[int], list[bool]]]:
    """Passage text, candidate and truncated flag of each pair under "max_passage"."""
    tokenizer = tokenizer_of(str(llama))
    encoder = PairEncoder(tokenizer, DEAR, 48)

    def encode(query: str, passages: list[Passage]) -> tuple[list[str], list[int], list[bool]]:
        pairs = encoder.encode(query, passages, "max_passage")
        assert pairs.lengths.max() <= 48
        ids = [pairs.passage_ids[pairs.passage_offsets[n] : pairs.passage_offsets[n + 1]] for n in range(len(pairs))]
        return [tokenizer.decode(part) for part in ids], pairs.candidate_of.tolist(), pairs.truncated.tolist()

    return encode


def test_windows_cover_the_whole_passage_and_repeat_its_title(windowed: Callable[..., tuple[list[str], ...]]) -> None:
    text = " ".join(f"word{n} of the tide table" for n in range(40))

    texts, owners, cut = windowed("when", [Passage("short", "t"), Passage(text, "Tides"), Passage("end")])

    assert owners[0] == 0
    assert owners[-1] == 2
    windows = texts[1:-1]
    assert len(windows) > 3
    assert set(owners[1:-1]) == {1}
    assert all(window.startswith("document: Tides ") for window in windows)
    assert "".join(window.removeprefix("document: Tides ") for window in windows) == text
    assert not any(cut)


def test_passage_longer_than_its_windows_is_flagged_truncated(windowed: Callable[..., tuple[list[str], ...]]) -> None:
    texts, _, cut = windowed("when", [Passage("tide " * 48 * MAX_WINDOWS)])
    assert len(texts) == MAX_WINDOWS
    assert all(cut)


def test_added_token_without_an_embedding_is_encoded_as_text(llama: Path) -> None:
    """Its id would index beyond the embedding table: an exception on a CPU, a crash of the process on CUDA."""
    tokenizer = copy.deepcopy(tokenizer_of(str(llama)))
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    spelled = [Passage("tide [PAD] table")]

    unguarded = PairEncoder(tokenizer, DEAR, 64).encode("q [PAD]", spelled)
    guarded = PairEncoder(tokenizer, DEAR, 64, embeddings=rows).encode("q [PAD]", spelled)

    assert unguarded.pair_ids(0).max() == rows
    expected = PairEncoder(tokenizer_of(str(llama)), DEAR, 64).encode("q [PAD]", spelled)
    assert guarded.pair_ids(0).tolist() == expected.pair_ids(0).tolist()


def test_tokenizer_with_more_tokens_than_the_model_is_refused(llama: Path) -> None:
    with pytest.raises(CheckpointError, match=r"its tokenizer has \d+ tokens, its model 100: they do not belong"):
        PairEncoder(tokenizer_of(str(llama)), DEAR, 64, embeddings=100)
