"""What is read of a text gives the same tokens, and one character less does not."""

import copy
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranker.checkpoints.files import load_tokenizer, locate
from reranker.pair_encoder import PairEncoder
from reranker.pairs import EncodedPairs
from reranker.prompt import BARE, DEAR
from reranker.reading import Span, read_spans
from reranker.settings import CheckpointSettings
from reranker.types import MAX_WINDOWS, Passage, Truncation

MAX_PAIR_TOKENS = 24
TEXTS = st.lists(st.sampled_from(["tide", "breadbasket", "the", "🌊", "مد", "[SEP]", "\n", "  "]), max_size=40).map(
    " ".join
)
PASSAGES = st.builds(Passage, TEXTS, TEXTS | st.just(""))


@cache
def encoder_of(template: str, side: str) -> PairEncoder:
    tokenizer = copy.deepcopy(load_tokenizer(locate(CheckpointSettings(), weights=False)))
    tokenizer.truncation_side = side
    return PairEncoder(tokenizer, {"dear": DEAR, "bare": BARE}[template], MAX_PAIR_TOKENS)


def ids(pairs: EncodedPairs) -> list[list[int]]:
    return [pairs.pair_ids(pair).tolist() for pair in range(len(pairs))]


@given(
    query=TEXTS,
    passages=st.lists(PASSAGES, min_size=1, max_size=3),
    truncation=st.sampled_from(["model", "max_passage"]),
    template=st.sampled_from(["dear", "bare"]),
    side=st.sampled_from(["left", "right"]),
)
@settings(max_examples=40)
def test_what_is_read_gives_the_same_tokens_and_less_does_not(
    query: str, passages: list[Passage], truncation: Truncation, template: str, side: str
) -> None:
    encoder = encoder_of(template, side)
    reading = read_spans(partial(encoder.encode, truncation=truncation), query, passages)
    whole = encoder.encode(query, passages, truncation)
    for n, (passage, read) in enumerate(zip(passages, reading.passages, strict=True)):
        wanted = ids(encoder.encode(query, [passage], truncation))
        title, text = passage.title[slice(*read.title)], passage.text[slice(*read.text)]
        assert ids(encoder.encode(query, [Passage(text, title)], truncation)) == wanted
        assert (read.truncated, read.tokens) == (
            bool(whole.truncated[whole.candidate_of == n].any()),
            sum(map(len, wanted)),
        )
        if not read.truncated:
            assert (title, text) == (passage.title, passage.text)
        elif text:
            assert ids(encoder.encode(query, [Passage(text[:-1], title)], truncation)) != wanted
            assert ids(encoder.encode(query, [Passage(text[1:], title)], truncation)) != wanted


def test_a_long_passage_is_read_up_to_its_cut_and_by_windows_to_its_end() -> None:
    encoder = encoder_of("dear", "right")
    passage = Passage("the tide " * 40)
    (cut,) = read_spans(encoder.encode, "tide", [passage]).passages
    (windows,) = read_spans(partial(encoder.encode, truncation="max_passage"), "tide", [passage]).passages
    assert (cut.truncated, cut.text.start, cut.tokens) == (True, 0, MAX_PAIR_TOKENS)
    assert 10 < cut.text.end < 100
    assert (windows.truncated, windows.text) == (False, Span(0, len(passage.text)))
    assert windows.tokens > cut.tokens


def test_windows_end_where_the_model_stops_reading() -> None:
    passage = Passage("the tide " * 20 * MAX_WINDOWS)
    (read,) = read_spans(
        partial(encoder_of("bare", "right").encode, truncation="max_passage"), "tide", [passage]
    ).passages
    assert read.truncated
    assert 0 < read.text.end < len(passage.text) - 9


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_title_that_fills_the_pair_is_cut_and_the_text_is_not_read(side: str) -> None:
    passage = Passage("high tide", "table " * 60)
    (read,) = read_spans(encoder_of("bare", side).encode, "tide", [passage]).passages
    assert read.truncated
    if side == "right":
        assert read.text == Span(0, 0)
        assert 0 < read.title.end < 200


def test_a_query_that_is_cut_says_where() -> None:
    query = "when is high tide " * 20
    reading = read_spans(encoder_of("dear", "right").encode, query, [Passage("at noon"), Passage("the tide " * 40)])
    assert 0 < reading.query.end < 100
    assert read_spans(encoder_of("dear", "right").encode, "tide", [Passage("at noon")]).query == Span(0, 4)
