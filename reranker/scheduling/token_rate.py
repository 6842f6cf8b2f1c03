"""How many tokens a minute a client may send: a token bucket for each.

Knows nothing of clocks or HTTP: the caller says what time it is. Not thread-safe: one event loop owns it.

The rule. A bucket holds a minute's tokens, is full at first and fills at the client's rate. A request is let in when
the bucket holds its tokens, and takes them out. One that no bucket could hold is let in when the bucket is full, and
leaves a debt. So in any t seconds a client gets at most (1 + t / 60) minutes' tokens, and one largest request more.
"""

from __future__ import annotations

from reranker.errors import RateLimited

_MINUTE_S = 60.0
_ROUNDING = 0.5  # tokens are whole: what is missing below this is an error of floating-point numbers


class TokenRates:
    """The buckets of all clients that have a rate."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}  # client -> tokens at a time

    def take(self, client: str, tokens: int, tokens_per_minute: float, now_s: float) -> None:
        """Raises RateLimited, and takes nothing, when the client has to wait. now_s: must not go back.

        tokens_per_minute: above 0; when it changes, what the bucket holds stays, up to a minute's tokens.
        """
        held, since_s = self._buckets.get(client, (tokens_per_minute, now_s))
        held = min(tokens_per_minute, held + (now_s - since_s) * tokens_per_minute / _MINUTE_S)
        missing = min(tokens, tokens_per_minute) - held
        if missing > _ROUNDING:
            self._buckets[client] = held, now_s
            raise RateLimited(missing * _MINUTE_S / tokens_per_minute, tokens)
        self._buckets[client] = held - tokens, now_s
