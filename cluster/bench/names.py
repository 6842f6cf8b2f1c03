"""Lists with commas, as options of benchmarks take them."""

from __future__ import annotations

from collections.abc import Collection

from reranker.errors import InvalidField


def names_in(option: str, text: str, known: Collection[str]) -> list[str]:
    """Each name once, in order; '' names none. Raises InvalidField for a name that is not known."""
    names = list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    for name in names:
        if name not in known:
            raise InvalidField(option, f"{name!r} is not known: use any of {','.join(known)}")
    return names
