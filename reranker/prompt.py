"""How a query and a passage are written before they are tokenized: the only home of these strings.

Knows nothing of tokens. A template belongs to a checkpoint (its `reranker.json` names it); changing what a
template writes changes every score, so each carries a version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reranker.errors import CheckpointError
from reranker.types import Passage


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Writes one side of a pair at a time, so that each side can be tokenized alone."""

    name: str
    version: int
    query: Callable[[str], str]
    passage: Callable[[Passage], str]


# An empty title leaves two spaces after "document:". That is what the model was trained on.
DEAR = PromptTemplate(
    name="dear",
    version=1,
    query=lambda query: f"query: {query}",
    passage=lambda passage: f"document: {passage.title} {passage.text}",
)

# Bare pairs, as BGE and MS MARCO cross-encoders expect; BEIR joins title and text with one space.
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
