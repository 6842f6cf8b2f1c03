"""Repairs text that UTF-8 cannot encode."""

import re

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """Replace lone surrogates by U+FFFD, as browsers do: neither tokenizers nor UTF-8 files accept them."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)
