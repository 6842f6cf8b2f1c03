"""Hypothesis strategies for JSON objects that clients might send, valid or not."""

from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "model",
    "query",
    "queries",
    "text_1",
    "documents",
    "text_2",
    "texts",
    "top_n",
    "top_k",
    "return_documents",
    "rank_fields",
    "truncation",
    "truncate",
    "raw_scores",
    "use_activation",
    "verbose",
    "timeout_ms",
    "on_deadline",
    "priority",
    "return_text",
    "passages",
    "data_1",
    "data_2",
    "items",
    "input",
    "parameters",
    "property",
    "unheard_of",
]
DOCUMENTS = st.lists(
    st.text(max_size=5) | st.fixed_dictionaries({"text": st.text(max_size=5)}, optional={"id": JSON})
)
LISTS = ("documents", "texts", "passages", "data_2", "items")
BODY = st.fixed_dictionaries(
    {}, optional={name: JSON | (DOCUMENTS if name in LISTS else st.text()) for name in FIELDS}
)
