"""Build HTML from elements. Text is escaped unless it is `Html` already, so that no name can inject markup."""

from __future__ import annotations

import re
from html import escape

from reranker.text import well_formed

_INLINE = {"a", "span", "strong"}
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Html(str):
    """Markup that must not be escaped again."""

    __slots__ = ()


def html(text: str) -> Html:
    """Escape text; characters that HTML forbids become U+FFFD."""
    return text if isinstance(text, Html) else Html(escape(_CONTROLS.sub("\ufffd", well_formed(text))))


def join(*parts: str) -> Html:
    return Html("".join(map(html, parts)))


def element(name: str, *inside: str, **attributes: str) -> Html:
    """`<name attribute="value">inside</name>`; a trailing underscore is dropped, as in `class_`."""
    written = "".join(f' {key.rstrip("_")}="{html(value)}"' for key, value in attributes.items())
    end = "" if name in _INLINE else "\n"
    return Html(f"<{name}{written}>{join(*inside)}</{name}>{end}")
