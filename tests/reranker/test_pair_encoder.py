"""Pair encoding: token ids equal those of Hugging Face's own call, for any texts and any max length."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import Replace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from reranker.checkpoints.files import EMBEDDED, load_tokenizer, locate
from reranker.errors import CheckpointError, InvalidField, UnscorableDocument
from reranker.layout import PairLayout
from reranker.pair_encoder import PairEncoder
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


@cache
def left_cut(model: str) -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(tokenizer_of(model))
    tokenizer.truncation_side = "left"
    return tokenizer


@pytest.fixture(params=["bert", "llama", "embedded", "llama cut on the left"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    name, _, left = request.param.partition(" ")
    model = EMBEDDED if name == EMBEDDED else str(request.getfixturevalue(name))
    return left_cut(model) if left else tokenizer_of(model)


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(query=TEXTS, text=TEXTS, length=st.sampled_from([9, 16, 33]))
def test_pairs_cut_shorter_for_one_request_are_those_of_a_shorter_model(
    tokenizer: PreTrainedTokenizerBase, query: str, text: str, length: int
) -> None:
    passages = [Passage(text), Passage("tide " * 40)]
    short, shortened = (
        PairEncoder(tokenizer, BARE, length).encode(query, passages),
        PairEncoder(tokenizer, BARE, 228).encode(query, passages, max_pair_tokens=length),
    )
    for name in ("prefix_ids", "passage_ids", "passage_offsets", "truncated"):
        assert getattr(shortened, name).tolist() == getattr(short, name).tolist()


def test_pairs_are_cut_to_no_fewer_tokens_than_the_special_ones_and_two() -> None:
    encoder = PairEncoder(tokenizer_of(EMBEDDED), BARE, 64)
    assert encoder.encode("tide", [Passage("bread " * 90)], max_pair_tokens=1_000).lengths.tolist() == [64]
    assert encoder.encode("tide", [Passage("bread " * 90)], max_pair_tokens=5).lengths.tolist() == [5]
    with pytest.raises(InvalidField, match="truncate_prompt_tokens: must be at least 5, got 4"):
        encoder.encode("tide", [Passage("bread")], max_pair_tokens=4)


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(query=TEXTS, texts=st.lists(TEXTS, max_size=4))
def test_joined_pairs_of_whole_texts_are_those_that_are_encoded_at_once(
    tokenizer: PreTrainedTokenizerBase, query: str, texts: list[str]
) -> None:
    encoder, passages = PairEncoder(tokenizer, DEAR, 33), [Passage(text) for text in texts]
    encoded = encoder.encode(query, passages)
    joined = encoder.join(encoder.tokenize_query(query), encoder.tokenize_passages(passages))
    assert [joined.pair_ids(n).tolist() for n in range(len(texts))] == [
        encoded.pair_ids(n).tolist() for n in range(len(texts))
    ]
    assert joined.truncated.tolist() == encoded.truncated.tolist()
    assert joined.candidate_of.tolist() == encoded.candidate_of.tolist() == list(range(len(texts)))


def test_max_pair_tokens_without_room_for_text_is_refused(llama: Path) -> None:
    special = PairEncoder(tokenizer_of(str(llama)), DEAR, 228).layout.special_tokens
    least = special + 2
    message = f"max_pair_tokens {special + 1} leaves no room .* {special} special tokens: allow at least {least}"
    with pytest.raises(CheckpointError, match=message):
        PairEncoder(tokenizer_of(str(llama)), DEAR, special + 1)
    pairs = PairEncoder(tokenizer_of(str(llama)), DEAR, least).encode("tide", [Passage("bread")])
    assert pairs.lengths.tolist() == [least]


@pytest.mark.parametrize(
    "pair",
    [
        "$B $A",
        "$A:0 <|begin_of_text|>:1 <|begin_of_text|>:0 $B:1",  # types that change twice
        "<|begin_of_text|>:1 $A:0 $B:0",  # or within the prefix
    ],
)
def test_tokenizer_whose_pairs_are_not_query_then_passage_is_refused(pair: str, llama: Path) -> None:
    tokenizer = copy.deepcopy(tokenizer_of(str(llama)))
    specials = [("<|begin_of_text|>", 0)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A", pair, specials)  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="does not encode a pair as query, then passage"):
        PairLayout.of(tokenizer)


@pytest.mark.parametrize("lost", ["a", "b"])
def test_tokenizer_that_loses_a_text_of_the_pair_is_refused(lost: str, llama: Path) -> None:
    tokenizer = copy.deepcopy(tokenizer_of(str(llama)))
    tokenizer.backend_tokenizer.normalizer = Replace(lost, "")  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="does not encode pairs: the text of the pair is missing"):
        PairLayout.of(tokenizer)


def test_layout_has_the_special_tokens_and_types_around_both_texts(llama: Path) -> None:
    tokenizer = copy.deepcopy(tokenizer_of(str(llama)))
    pair = "<|end_of_text|>:2 $A:2 <|begin_of_text|>:2 <|end_of_text|>:3 $B:3 <|begin_of_text|>:3"
    specials = [("<|begin_of_text|>", 0), ("<|end_of_text|>", 1)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A", pair, specials)  # type: ignore[attr-defined]
    assert PairLayout.of(tokenizer) == PairLayout((1,), (0, 1), (0,), 2, 3, 1, sends_types=False)
    tokenizer.model_input_names = ["input_ids", "token_type_ids"]
    assert PairLayout.of(tokenizer).sends_types
    for recorded in (True, False):
        assert PairEncoder(tokenizer, DEAR, 64, sends_types=recorded).layout.sends_types == recorded


def test_slow_tokenizer_is_refused(llama: Path) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json: save it once as a fast tokenizer"):
        PairEncoder(Slow(), DEAR, 64)  # type: ignore[arg-type]


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


def test_passage_that_fills_its_pair_is_one_window_and_one_token_more_makes_two(llama: Path) -> None:
    tokenizer = tokenizer_of(str(llama))
    encoder = PairEncoder(tokenizer, BARE, 24)
    for query in ("tide", "tide " * 50):  # a long query keeps half of the pair
        query_tokens, text = len(encoder.tokenize_query(query)), 24 - encoder.layout.special_tokens
        room = text - min(query_tokens, text // 2)
        for tokens in (room, room + 1):
            passage = Passage(tokenizer.decode(encoder.tokenize_passages([Passage("1 " * 60)])[0][:tokens]))
            assert len(encoder.tokenize_passages([passage])[0]) == tokens
            pairs = encoder.encode(query, [passage], "max_passage")
            assert len(pairs) == 1 + (tokens > room)
            assert pairs.truncated.tolist() == [query_tokens > text // 2] * len(pairs)


def test_windows_hold_as_many_tokens_as_fit_beside_query_and_title_but_one(llama: Path) -> None:
    encoder = PairEncoder(tokenizer_of(str(llama)), BARE, 40)
    query_tokens = len(encoder.tokenize_query("tide"))
    title_tokens = len(encoder.tokenize_passages([Passage("", "Title")])[0])
    step = 40 - encoder.layout.special_tokens - query_tokens - title_tokens - 1
    digits = "1." * (step * MAX_WINDOWS)  # a token each
    for tokens, windows, cut in (
        (2 * step, 2, False),
        (2 * step + 1, 3, False),
        (step * MAX_WINDOWS, MAX_WINDOWS, False),
        (step * MAX_WINDOWS + 1, MAX_WINDOWS, True),
    ):
        pairs = encoder.encode("tide", [Passage(digits[:tokens], "Title")], "max_passage")
        assert (len(pairs), set(pairs.truncated.tolist())) == (windows, {cut})


def test_title_that_fills_the_pair_leaves_no_windows_and_is_cut(llama: Path) -> None:
    encoder = PairEncoder(tokenizer_of(str(llama)), DEAR, 48)
    passages = [Passage("text " * 40, "title " * 40), Passage("short")]
    pairs, cut = encoder.encode("q", passages, "max_passage"), encoder.encode("q", passages)
    assert [pairs.pair_ids(n).tolist() for n in range(2)] == [cut.pair_ids(n).tolist() for n in range(2)]
    assert pairs.truncated.tolist() == [True, False]


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
