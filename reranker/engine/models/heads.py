"""Types shared by all attention implementations: heads, keys and values, and the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Heads(NamedTuple):
    """query: number of query heads. key: number of key and of value heads, a divisor of `query`. size: head width."""

    query: int
    key: int
    size: int


class KeysValues(NamedTuple):
    """Keys and values of one prefix in one layer, each (key heads, tokens, head size)."""

    keys: Tensor
    values: Tensor


class Attention(Protocol):
    """Attention over one batch, called once per layer. prefixes: KeysValues of the layer, by prefix index."""

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        """qkv: (tokens, query + 2 * key heads, head size) -> (tokens, query heads * head size)."""
        ...

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        """For one token of each sequence, which attends to all of it: in a causal pass the last one.

        q: (sequences, query heads, head size). kv: (tokens, 2 * key heads, head size).
        Returns (sequences, query heads * head size).
        """
        ...
