"""The log of requests: one line each, the same name as in the answer, no text, no key, and a bound under overload."""

from __future__ import annotations

import json
import logging
import string
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._common.formatters import JSONFormatter

from deployments.access_log import AccessLog
from deployments.failures import failure_without_texts
from deployments.http.routes import build_http
from deployments.request_record import RequestRecord, is_request_id
from deployments.settings import AuthSettings, LogSettings
from deployments.tokenizer import Tokenizer
from reranker.encoder import Encoder
from reranker.errors import Overloaded, Unavailable
from reranker.pairs import EncodedPairs
from reranker.settings import CheckpointSettings, LimitsSettings
from reranker.types import PairOptions, Passage
from tests.deployments.http.services import FakeService
from tests.reranker.test_keys import entry, write

TEXT = "xylophonic tide"
BODY = {"query": TEXT, "documents": [TEXT, "2"]}
IN_LOGS = string.ascii_letters + string.digits + "._:/+=@-"


def connect(service: FakeService, **settings: Any) -> httpx.AsyncClient:
    app = build_http(service, LimitsSettings(), **settings)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def requests_in(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines about requests, as Serve writes them in JSON."""
    lines = [json.loads(JSONFormatter().format(record)) for record in caplog.records]
    return [line for line in lines if "dialect" in line]


@pytest.mark.parametrize(
    ("failure", "body", "status", "tokens"),
    [
        (None, BODY, 200, 14),
        (Overloaded(1.0), BODY, 429, 0),
        (KeyError(TEXT), BODY, 503, 0),
        (None, BODY | {"top_n": TEXT}, 400, 0),
    ],
)
async def test_request_is_one_line_named_as_its_answer_and_without_texts(
    failure: Exception | None, body: dict[str, Any], status: int, tokens: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    async with connect(FakeService(failure)) as client:
        answer = await client.post("/v2/rerank", json=body, headers={"x-request-id": "mine-1"})
    (line,) = requests_in(caplog)
    assert answer.headers["x-rerank-id"] == line["request_id"] == "mine-1"
    assert (line["dialect"], line["status"], line["documents"], line["tokens"]) == ("cohere_v2", status, 2, tokens)
    assert 0 < line["seconds"] < 60
    assert "client" not in line
    assert TEXT not in caplog.text


async def test_line_has_the_name_of_the_key_and_never_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ray.serve")
    path = write(tmp_path / "keys.json", {"keys": [entry("search", "rrk_right")]})
    async with connect(FakeService(), auth=AuthSettings(keys_file=path)) as client:
        for key in ("rrk_right", "rrk_wrong"):
            await client.post("/v2/rerank", json=BODY, headers={"authorization": f"Bearer {key}"})
    assert [(line["status"], line.get("client")) for line in requests_in(caplog)] == [(200, "search"), (401, None)]
    assert "rrk_" not in caplog.text


async def test_errors_that_name_their_request_name_it_as_the_header_does() -> None:
    async with connect(FakeService()) as client:
        answer = await client.post("/api/v1/services/rerank/text-rerank/text-rerank", json={"input": {}})
    assert answer.status_code == 400
    assert answer.json()["request_id"] == answer.headers["x-rerank-id"]


async def test_no_line_is_written_where_the_setting_is_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    async with connect(FakeService(), logs=LogSettings(requests=False)) as client:
        assert (await client.post("/v2/rerank", json=BODY)).status_code == 200
    assert requests_in(caplog) == []


def test_lines_are_bounded_per_second_and_the_next_one_says_how_many_were_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ray.serve")
    now = 0.0
    log = AccessLog(LogSettings(max_lines_per_s=10), lambda: now)
    for _ in range(50):
        log.write(RequestRecord("TEI"))
    assert len(caplog.records) == 10
    now = 0.1
    log.write(RequestRecord("TEI"))
    assert requests_in(caplog)[-1]["left_out"] == 40
    now = 100.0
    for _ in range(50):
        log.write(RequestRecord("TEI"))
    assert len(caplog.records) == 21


@given(
    st.binary(max_size=140) | st.text(max_size=10).map(str.encode) | st.text(IN_LOGS, max_size=140).map(str.encode)
)
def test_request_id_of_a_client_is_kept_only_if_it_is_one_plain_word(value: bytes) -> None:
    plain = 0 < len(value) <= 128 and all(chr(byte) in IN_LOGS for byte in value) and chr(value[0]).isalnum()
    assert is_request_id(value) is plain


@pytest.mark.parametrize("given", ["a b", "a\tstatus=200", "x" * 129, "-", "é"])
async def test_other_request_ids_are_replaced(given: str) -> None:
    async with connect(FakeService()) as client:
        answer = await client.post("/v2/rerank", json=BODY, headers=[(b"x-request-id", given.encode())])
    assert is_request_id(answer.headers["x-rerank-id"].encode())
    assert answer.headers["x-rerank-id"] != given


class BuggyEncoder(Encoder):
    """Quotes the text that it fails on, as a lookup in a vocabulary does."""

    def __init__(self) -> None: ...

    def encode(self, query: str, *_: Any, **__: Any) -> EncodedPairs:
        raise KeyError(query)


async def test_bug_in_an_encoder_is_logged_and_raised_without_the_text(caplog: pytest.LogCaptureFixture) -> None:
    """What a tokenizer raises is written into its log by Serve."""
    tokenizer = Tokenizer(CheckpointSettings(), BuggyEncoder())
    with pytest.raises(Unavailable, match="tokenizing failed: KeyError") as caught:
        await tokenizer.encode(TEXT, [Passage("a")], PairOptions())
    assert caught.value.__suppress_context__
    assert "KeyError < " in caplog.text
    assert TEXT not in caplog.text


def test_failure_is_described_by_types_and_places_alone() -> None:
    try:
        try:
            raise KeyError(TEXT)
        except KeyError as error:
            raise ValueError(TEXT) from error
    except ValueError as error:
        line = failure_without_texts(error)
    assert line.startswith("ValueError < ")
    assert "; caused by KeyError < " in line
    assert __file__ in line
    assert TEXT not in line
    assert "\n" not in line
