"""Twenty thousand generated bodies over real HTTP: each gets an answer, and none causes a server error."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray import serve

from deployments.app import build_app
from deployments.http.dialects import ROUTES
from deployments.settings import AppSettings
from tests.deployments.http.bodies import BODY, DOCUMENTS

pytestmark = pytest.mark.slow

CASES = 20_000
LIKELY = st.fixed_dictionaries(
    {"query": st.text(min_size=1, max_size=20), "documents": DOCUMENTS},
    optional={"top_n": st.integers(1, 5), "priority": st.integers(0, 999), "on_deadline": st.just("partial")},
)


@pytest.fixture(scope="module")
def client(cluster: str) -> Iterator[httpx.Client]:
    app = build_app(AppSettings.model_validate({"device": "cpu", "engine": {"simulated_tokens_per_s": 1e6}}))
    serve.run(app, name="fuzz", route_prefix="/fuzz")
    with httpx.Client(base_url=f"{cluster}/fuzz", timeout=30) as client:
        yield client
    serve.delete("fuzz")


def test_no_body_hangs_or_causes_a_server_error(client: httpx.Client) -> None:
    seen: Counter[int] = Counter()

    @settings(max_examples=CASES, database=None, suppress_health_check=list(HealthCheck))
    @given(path=st.sampled_from(list(ROUTES)), body=BODY | LIKELY | st.binary(max_size=40))
    def send(path: str, body: dict[str, Any] | bytes) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = client.post(path, content=content)  # raises when there is no answer within 30 s
        seen[response.status_code] += 1
        timed_out_as_asked = response.status_code == 504 and isinstance(body, dict) and "timeout_ms" in body
        assert response.status_code < 500 or timed_out_as_asked, (path, body, response.text)
        response.json()

    send()
    print(dict(seen))
    assert seen.total() >= CASES
    assert seen[200] > CASES / 100
