"""Pair templates: the text of a query and of a passage before tokenizing. No other module holds these strings.

Knows nothing of tokens. Each checkpoint's `reranker.json` names its template. A change to a template's text changes
every score, so each template has a version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reranker.errors import CheckpointError
from reranker.types import Passage


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Formats query and passage separately, so that each can be tokenized alone."""

    name: str
    version: int
    query: Callable[[str], str]
    passage: Callable[[Passage], str]


# With an empty title two spaces follow "document:": the model was trained on that.
DEAR = PromptTemplate(
    name="dear",
    version=1,
    query=lambda query: f"query: {query}",
    passage=lambda passage: f"document: {passage.title} {passage.text}",
)

# The texts alone, as BGE and MS MARCO cross-encoders expect; title and text joined by one space, as in BEIR.
BARE = PromptTemplate(
    name="bare",
    version=1,
    query=lambda query: query,
    passage=lambda passage: f"{passage.title} {passage.text}" if passage.title else passage.text,
)

TEMPLATES: Mapping[str, PromptTemplate] = MappingProxyType({t.name: t for t in (DEAR, BARE)})


def template_named(name: str) -> PromptTemplate:
    """Raises CheckpointError for a name that is not in TEMPLATES."""
    if name not in TEMPLATES:
        raise CheckpointError(f"template {name!r} is not known: use one of {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]
