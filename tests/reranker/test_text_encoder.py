"""Pairs written as one text or in pieces have the reference's token ids, whether shared, cut or in windows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from reranker.checkpoints.reference import reference_inputs
from reranker.errors import CheckpointError, InvalidField
from reranker.prompt import PromptTemplate
from reranker.recipe import Recipe
from reranker.text_encoder import TextEncoder
from reranker.types import Passage
from tests.checkpoints import EOS, SAMPLE_TEXTS, write_llama


def template(*pieces: object, special_tokens: str = "none", instruction: str | None = None) -> PromptTemplate:
    return PromptTemplate.model_validate(
        {"name": "t", "pieces": pieces, "special_tokens": special_tokens, "instruction": instruction}
    )


TEMPLATES = {
    "one text": template("Query: {query} Document: {document} Relevant:", special_tokens="single"),
    "prompt and suffix": template(
        f"{EOS}system\nJudge.{EOS}\n",
        "<I>: {instruction}\n<Q>: {query}\n<D>: {document}",
        f"{EOS}\nyes or no\n",
        instruction="find passages",
    ),
    "pieces with caps": template(
        {"text": "A: {query}", "max_share": 0.5},
        "\n",
        {"text": "B: {title} {text}", "max_tokens": 40},
        "\nAnswer:",
        special_tokens="single",
    ),
    "document first": template("Check.\n<D> {document}\n<Q> {query} ??"),
    "query after": template("<D> {document}", "<Q> {query} ??"),
}


@pytest.fixture(scope="module")
def tokenizer(llama: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(llama)
    return loaded


def encoder_of(tokenizer: PreTrainedTokenizerBase, name: str, max_pair_tokens: int) -> TextEncoder:
    return TextEncoder(tokenizer, Recipe(name=name, template=TEMPLATES[name]), max_pair_tokens)


texts = st.lists(
    st.sampled_from([*SAMPLE_TEXTS, "tide", "", " ", "\n", "<Q> {query}", EOS, "ends.\n", "日本", "a" * 60]),
    max_size=6,
).map(" ".join)


@pytest.mark.parametrize("name", TEMPLATES)
@given(query=texts, documents=st.lists(st.builds(Passage, texts, texts), max_size=5), longest=st.integers(90, 160))
def test_ids_are_those_of_the_reference(
    name: str, query: str, documents: list[Passage], longest: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    pairs = encoder_of(tokenizer, name, longest).encode(query, documents)
    assert len(pairs) == len(documents)
    for number, passage in enumerate(documents):
        expected = reference_inputs(tokenizer, TEMPLATES[name], longest, query, passage).input_ids[0].tolist()
        assert pairs.pair_ids(number).tolist() == expected
        assert len(expected) <= longest


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_beyond_the_pair_is_not_tokenized_and_changes_nothing(
    name: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    encoder, text = encoder_of(tokenizer, name, 128), " ".join(SAMPLE_TEXTS)
    short, long = (encoder.encode("tide", [Passage(text * times)], "model", 9_000) for times in (3, 300))
    assert short.pair_ids(0).tolist() == long.pair_ids(0).tolist()
    assert short.truncated.all()
    assert long.truncated.all()


def test_cut_pair_keeps_what_stands_behind_the_document(tokenizer: PreTrainedTokenizerBase) -> None:
    for name in ("document first", "query after"):
        pairs = encoder_of(tokenizer, name, 64).encode("when is high tide", [Passage(" ".join(SAMPLE_TEXTS))])
        assert tokenizer.decode(pairs.pair_ids(0)).endswith("<Q> when is high tide ??")
        assert len(pairs.pair_ids(0)) == 64


def test_pairs_share_what_they_begin_with(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = encoder_of(tokenizer, "prompt and suffix", 128)
    pairs = encoder.encode("when is high tide", [Passage(text) for text in SAMPLE_TEXTS])
    whole = len(tokenizer(TEMPLATES["prompt and suffix"].pieces[0].text, add_special_tokens=False).input_ids)
    assert len(pairs.prefix_ids) > whole
    assert "high tide" in tokenizer.decode(pairs.prefix_ids)
    alone = encoder.encode("when is high tide", [Passage("x")])
    assert len(alone.prefix_ids) >= len(pairs.prefix_ids)
    assert encoder.encode("tide", []).lengths.tolist() == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_windows_cover_a_long_document(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    text = " ".join(str(number) for number in range(400))
    pairs = encoder_of(tokenizer, name, 96).encode("tide", [Passage(text), Passage("short")], "max_passage")
    assert pairs.candidate_of.tolist() == [0] * (len(pairs) - 1) + [1]
    assert (pairs.lengths <= 96).all()
    assert not pairs.truncated.any()
    seen = {word for pair in range(len(pairs)) for word in tokenizer.decode(pairs.pair_ids(pair)).split()}
    assert len({str(number) for number in range(400)} & seen) > 300


def test_request_may_bring_its_own_instruction(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = encoder_of(tokenizer, "prompt and suffix", 128)
    default, same, other = (
        encoder.encode("tide", [Passage("x")], instruction=text).pair_ids(0).tolist()
        for text in (None, "find passages", "find answers")
    )
    assert default == same != other


def test_template_may_have_a_text_for_requests_with_an_instruction(tokenizer: PreTrainedTokenizerBase) -> None:
    written = template({"text": "Q: {query}", "with_instruction": "I: {instruction}\nQ: {query}"}, " D: {document}")
    encoder = TextEncoder(tokenizer, Recipe(name="t", template=written), 64)
    without, told = (
        tokenizer.decode(encoder.encode("tide", [Passage("x")], instruction=text).pair_ids(0))
        for text in (None, "find")
    )
    assert (without, told) == ("Q: tide D: x", "I: find\nQ: tide D: x")


def test_instruction_that_leaves_no_room_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = encoder_of(tokenizer, "prompt and suffix", 96)
    with pytest.raises(InvalidField, match="leaves no room for a document") as refused:
        encoder.encode("tide", [Passage("x")], instruction="word " * 200)
    assert refused.value.field == "instruction"


def test_instruction_is_refused_where_the_template_has_no_place_for_it(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InvalidField, match="is not read by this model"):
        encoder_of(tokenizer, "one text", 64).encode("tide", [Passage("x")], instruction="find")


@pytest.mark.parametrize("name", TEMPLATES)
def test_pairs_cut_shorter_for_one_request_are_those_of_a_shorter_model(
    name: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    passages = [Passage(text) for text in (*SAMPLE_TEXTS, " ".join(SAMPLE_TEXTS))]
    short = encoder_of(tokenizer, name, 90).encode("tide", passages)
    shortened = encoder_of(tokenizer, name, 200).encode("tide", passages, max_pair_tokens=90)
    assert [shortened.pair_ids(n).tolist() for n in range(8)] == [short.pair_ids(n).tolist() for n in range(8)]
    with pytest.raises(InvalidField, match="truncate_prompt_tokens: leaves no room"):
        encoder_of(tokenizer, name, 200).encode("tide", passages, max_pair_tokens=3)


def test_pair_that_is_shorter_than_its_template_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(CheckpointError, match=r"template t: .*leaves no room for a document"):
        encoder_of(tokenizer, "prompt and suffix", 20)


def test_long_query_is_cut_and_said_so(tokenizer: PreTrainedTokenizerBase) -> None:
    for name in TEMPLATES:
        pairs = encoder_of(tokenizer, name, 96).encode(" ".join(SAMPLE_TEXTS), [Passage("x"), Passage("y")])
        assert pairs.truncated.all(), name
        assert (pairs.lengths <= 96).all()


def test_tokens_without_an_embedding_are_read_as_text(tmp_path: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(write_llama(tmp_path / "m"))
    loaded.add_special_tokens({"pad_token": "[PAD]"})
    recipe = Recipe(name="t", template=TEMPLATES["one text"])
    rows = loaded.pad_token_id
    ids = TextEncoder(loaded, recipe, 64, embeddings=rows).encode("tide [PAD]", [Passage("[PAD] x")]).pair_ids(0)
    assert np.max(ids) < rows
