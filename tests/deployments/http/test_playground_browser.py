"""The playground in a real browser, over the real graph without Ray: what a person does and sees there."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments.http.browser import CHROMIUM, Tab, open_tab
from tests.deployments.http.playground_page import FAINT, IDLE, RANKED, numbers, rerank, sent, shown
from tests.deployments.in_process import running_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

WIDTHS = [360, 700, 1000, 1440]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def page(server: str, browser: Tab) -> Iterator[Tab]:
    """The page as it opens. Whatever a test does there, nobody else was asked and nothing was blocked or thrown."""
    browser.events.clear()
    browser.size(1440, 900)
    browser.prefer("light")
    browser.open(f"{server}/playground")
    browser.wait_for("document.querySelector('#model div')")
    yield browser
    asked = [event["params"]["request"]["url"] for event in browser.events if "request" in event["params"]]
    assert asked
    assert not [url for url in asked if not url.startswith((f"{server}/", "data:"))]
    assert not [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"]
    said = [event["params"]["entry"] for event in browser.events if event["method"] == "Log.entryAdded"]
    assert not [entry for entry in said if entry["source"] != "network"]  # a refused call is logged as well


def test_one_key_press_ranks_the_sample(page: Tab, server: str) -> None:
    assert page.evaluate("document.activeElement.id") == "query"
    page.press("Enter")
    page.wait_for(RANKED)
    answer = httpx.post(f"{server}/v2/rerank", json=sent(page)[0]).json()
    documents = sent(page)[0]["documents"]
    texts = [d if isinstance(d, str) else f"{d['title']}: {d['text']}" for d in documents]
    assert shown(page, "#after .excerpt") == [texts[row["index"]][:300] for row in answer["results"]]
    assert shown(page, "#after .score") == [f"{row['relevance_score']:.4f}" for row in answer["results"]]
    assert shown(page, "#before .excerpt") == [text[:300] for text in texts]
    moves = [row["index"] - rank for rank, row in enumerate(answer["results"])]
    assert shown(page, "#after .move") == [f"▲ {n}" if n > 0 else f"▼ {-n}" if n else "–" for n in moves]
    assert "10 documents in " in shown(page, "#status")[0]


def test_what_the_model_does_not_read_is_grey(page: Tab, server: str) -> None:
    rerank(page)
    page.wait_for(RANKED)
    page.wait_for("document.querySelector('#after .cut span')?.textContent.includes('%')")
    page.evaluate("document.querySelector('#after li:has(.cut span)').click()")
    (unread,) = shown(page, "#detail .unread")
    call = sent(page)[-1]
    (document,) = call["documents"]
    (read,) = httpx.post(f"{server}/v1/read", json=call).json()["documents"]
    assert unread == document[read["text_read"][1] :]
    assert "not read" in shown(page, "#detail .scissors")[0]

    rerank(page, truncation="max_passage")
    page.wait_for(f"document.querySelector('#status').textContent.includes('none cut') && {IDLE}")
    assert shown(page, ".unread") == []


def test_cut_is_right_where_a_character_takes_two_units(page: Tab) -> None:
    rerank(page, documents="🌊 tide " * 300, query="tide")
    page.wait_for("document.querySelector('#detail .unread')")
    text = "".join(page.evaluate("[...document.querySelector('#detail .text').childNodes].map(n => n.textContent)"))
    assert text.replace("✂ not read from here", "").replace("not read: ", "") == ("🌊 tide " * 300).strip()


def test_keys_walk_through_the_results(page: Tab) -> None:
    rerank(page)
    page.wait_for(RANKED)
    page.press("Escape")
    for key, place in [
        ("ArrowDown", 2),
        ("ArrowDown", 3),
        ("ArrowUp", 2),
        ("End", 10),
        ("ArrowDown", 10),
        ("Home", 1),
    ]:
        page.press(key)
        assert page.evaluate("document.activeElement.querySelector('.number').textContent") == str(place)
        assert shown(page, "#detail dd")[1].startswith(f"{place}, was") or shown(page, "#detail dd")[0] == "spring"
    assert page.evaluate("document.querySelectorAll('#after [aria-selected=true]').length") == 1
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"query": ""}, ["400", "query", "Change what the message names"]),
        ({"documents": ""}, ["400", "documents", "send at least one document"]),
        ({"top": "0"}, ["400", "top_n"]),
        ({"truncation": "error"}, ["400", "document 2"]),
    ],
)
def test_error_of_the_api_is_shown_as_it_comes_with_what_to_do(
    page: Tab, fields: dict[str, str], words: list[str]
) -> None:
    rerank(page, **fields)
    page.wait_for("!document.querySelector('#error').hidden")
    (text,) = shown(page, "#error")
    assert not [word for word in words if word not in text]
    assert page.evaluate("document.querySelector('#error').getAttribute('role')") == "alert"
    assert page.evaluate("document.querySelector('#ranking').hidden")
    rerank(page, query="tide", documents="a\nb", top="", truncation="model")
    page.wait_for(RANKED)
    assert page.evaluate("document.querySelector('#error').hidden")


@pytest.mark.parametrize(
    ("name", "content", "documents"),
    [
        ("a.txt", "one\n\ntwo\n", ["one", "two"]),
        ("a.jsonl", '{"_id": 1, "title": "t", "contents": "one\\ntwo"}\n"three"\n', [{"id": "1", "title": "t", "text": "one\ntwo"}, {"text": "three"}]),  # noqa: E501
        ("a.json", '["one", {"text": "two"}]', [{"text": "one"}, {"text": "two"}]),
        ("a.tsv", "1\tone\n2\ttwo\n", [{"id": "1", "text": "one"}, {"id": "2", "text": "two"}]),
        ("a.tsv", "\ufefftext\tid\none\td1\n", [{"id": "d1", "text": "one"}]),
        ("a.jsonl", '{"text": "one"}\n{broken\n', "line 2 is not JSON"),
        ("a.jsonl", '{"words": "one"}\n', "line 1 has no text"),
        ("a.tsv", "1\tone\n2\n", "line 2 has 1 columns"),
    ],
)  # fmt: skip
def test_file_becomes_documents_or_says_which_line_is_wrong(
    page: Tab, tmp_path: Path, name: str, content: str, documents: list[Any] | str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(tmp_path / name)], nodeId=node)
    if isinstance(documents, str):
        page.wait_for("!document.querySelector('#error').hidden")
        assert documents in shown(page, "#error")[0]
        return
    page.wait_for("document.querySelector('#status').textContent.includes('is loaded')")
    rerank(page)
    page.wait_for(RANKED)
    assert sent(page)[0]["documents"] == documents


def test_paragraphs_are_documents_if_asked_for(page: Tab) -> None:
    rerank(page, documents="one\ntwo\n\n \nthree\n", layout="paragraphs")
    page.wait_for(RANKED)
    assert sent(page)[0]["documents"] == ["one\ntwo", "three"]


def test_calls_to_copy_work_as_they_stand_in_every_dialect(page: Tab) -> None:
    tricky = 'it\'s "high" \\ tide\nA $(date) `tide`\n' + json.dumps(
        {"id": "d", "title": "T", "text": "two\nlines 🌊"}
    )
    page.evaluate(f"document.getElementById('documents').value = {json.dumps(tricky)}")
    names = shown(page, "#dialect option")
    assert len(names) >= 9
    for number, name in enumerate(names):
        scores = []
        for language in ("curl", "python"):
            for field, value in (("dialect", str(number)), ("language", language)):
                page.evaluate(f"document.getElementById('{field}').value = '{value}'")
            page.evaluate("document.getElementById('dialect').dispatchEvent(new Event('change'))")
            (code,) = shown(page, "#code")
            command = ["bash", "-c", code] if language == "curl" else [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            answer = json.loads(done.stdout) if language == "curl" else ast.literal_eval(done.stdout)
            scores.append(sorted(numbers(answer)))
        assert len(scores[0]) >= 3, name
        assert scores[0] == scores[1], name


def test_call_names_a_key_and_does_not_show_it(page: Tab) -> None:
    page.evaluate("document.getElementById('key').value = 'secret'")
    page.evaluate("document.getElementById('key').dispatchEvent(new Event('input', {bubbles: true}))")
    page.wait_for("document.querySelector('#code').textContent.includes('RERANKER_API_KEY')")
    (code,) = shown(page, "#code")
    assert "secret" not in code
    assert shlex.split(code)[0] == "curl"
    rerank(page)
    page.wait_for(RANKED)
    headers = [event["params"]["request"]["headers"] for event in page.events if "request" in event["params"]]
    assert any(head.get("authorization") == "Bearer secret" for head in headers)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_page_is_readable_at_every_width_in_both_colours(page: Tab, colours: str) -> None:
    page.prefer(colours)
    page.call("Page.reload")
    page.wait_for("document.querySelector('#model div')")
    rerank(page)
    page.wait_for("document.querySelector('#after .cut span')?.textContent.includes('%')")
    page.evaluate("document.querySelector('#after li:has(.cut span)').click()")
    assert page.evaluate("document.documentElement.dataset.theme") == colours
    for width in WIDTHS:
        page.size(width, 900)
        assert page.evaluate(FAINT) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.getElementById('theme').click()")
    assert page.evaluate("document.documentElement.dataset.theme") != colours
    assert page.evaluate(FAINT) == []
    page.evaluate("localStorage.clear()")


def test_every_control_has_a_name(page: Tab) -> None:
    rerank(page)
    page.wait_for(RANKED)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"textbox", "combobox", "button", "listbox", "option", "spinbutton", "link", "list"}
    controls = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert len(controls) > 20
    assert [node["role"]["value"] for node in controls if not node.get("name", {}).get("value")] == []
