"""What every kind of attention has in common: heads, keys and values, and the calls a forward makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Heads(NamedTuple):
    """query: attention heads. key: heads of keys and of values; a divisor of `query`. size: width of a head."""

    query: int
    key: int
    size: int


class KeysValues(NamedTuple):
    """Keys and values of one prefix in one layer, each (key heads, tokens, head size)."""

    keys: Tensor
    values: Tensor


class Attention(Protocol):
    """Bound to one batch; called once a layer. prefixes: KeysValues of the layer by slot."""

    def all_tokens(self, qkv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        """qkv: (tokens, query + 2 * key heads, head size) -> (tokens, query heads * head size)."""
        ...

    def one_token(self, q: Tensor, kv: Tensor, prefixes: Sequence[KeysValues]) -> Tensor:
        """For one token of each sequence that looks at all of it: the last one where the pass is causal.

        q: (sequences, query heads, head size). kv: (tokens, 2 * key heads, head size).
        Returns (sequences, query heads * head size).
        """
        ...
