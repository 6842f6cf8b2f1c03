"""Text that every tokenizer and every UTF-8 file can hold."""

import re

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """Text with lone surrogates replaced by U+FFFD, as a browser does; no tokenizer can read them."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)
