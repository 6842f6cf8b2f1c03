"""Asks an endpoint for its metrics and its model. Knows HTTP and Prometheus' format, not what the figures mean."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from reranker.errors import InvalidField, ServiceError, Unavailable

KEY_VARIABLE = "RERANKER_API_KEY"
_TIMEOUT_S = 5.0
_HOST = re.compile(r"[\w.:-]+")
_HEALTH_EVERY_S = 5.0  # the endpoint asks a scorer for it

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One gateway's metrics. at: seconds of the monotonic clock. values: name -> labels -> value."""

    at: float
    gateway: str
    values: Mapping[str, Mapping[Labels, float]]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of a name's samples that have these labels; None if the name is not there."""
        if name not in self.values:
            return None
        return sum(value for found, value in self.values[name].items() if labels.items() <= dict(found).items())


class Endpoint:
    """One endpoint, which may come and go. Every call raises Unavailable while it is away."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        """Raises InvalidField for what is no URL of an endpoint, or no key."""
        parsed = _parsed(url)
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise InvalidField("--api-key", "has characters that no header can have: give the key as it was printed")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = str(parsed).rstrip("/")
        here = parsed.host in ("localhost", "127.0.0.1", "::1")  # which no proxy reaches
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT_S, trust_env=not here)
        self._health: Mapping[str, Any] = {}
        self._health_at = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def scrape(self) -> Scrape:
        """Raises InvalidField if the endpoint refuses the key, or is none of ours."""
        answer = self._get("/metrics")
        at = time.monotonic()
        if answer.status_code in (401, 403):
            raise InvalidField("--api-key", f"{self.url} shows its metrics to API keys of role admin only: {_HINT}")
        if answer.status_code >= 500:
            raise Unavailable(f"{self.url}/metrics answers with status {answer.status_code}")
        values: dict[str, dict[Labels, float]] = {}
        gateway = ""
        try:
            for family in text_string_to_metric_families(answer.text if answer.status_code == 200 else ""):
                for sample in family.samples:
                    gateway = sample.labels.get("replica", gateway)
                    values.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        except ValueError:
            values = {}
        if "reranker_requests_in_progress" not in values:
            problem = f"{self.url}/metrics has no metrics of a reranker (status {answer.status_code})"
            raise InvalidField("URL", f"{problem}: give the base URL of an endpoint, like http://127.0.0.1:8000")
        return Scrape(at, gateway, values)

    def health(self) -> Mapping[str, Any]:
        """What `/health` says, at most five seconds old; {} if it says nothing that can be read."""
        if time.monotonic() - self._health_at >= _HEALTH_EVERY_S:
            self._health_at = time.monotonic()
            try:
                found = self._get("/health").json()
            except ValueError:
                found = {}
            self._health = found if isinstance(found, dict) else {}
        return self._health

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(path)
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.url} does not answer: {type(error).__name__}: {error}") from None


_HINT = f"give one by --api-key or {KEY_VARIABLE}, or set auth.open_metrics there"


def is_away(error: Exception) -> bool:
    """Whether the endpoint may come back."""
    return isinstance(error, ServiceError)


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL("")
    is_host = _HOST.fullmatch(parsed.host) is not None and (parsed.port or 1) < 2**16
    if parsed.scheme not in ("http", "https") or not is_host or parsed.query or parsed.fragment:
        raise InvalidField("URL", f"{url[:80]!r} is no address of an endpoint: write it like http://127.0.0.1:8000")
    return parsed
