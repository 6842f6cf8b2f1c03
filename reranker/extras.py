"""Optional dependencies: which extra of this package brings a module that is not installed."""

from __future__ import annotations

import importlib.util

_EXTRA_OF = {
    "matplotlib": "eval",
    "scipy": "eval",
    "peft": "lora",
    "bm25s": "train",
    "sentence_transformers": "bi-encoder",
    "boto3": "s3",
    "botocore": "s3",
}


def how_to_install(error: ImportError) -> str | None:
    """One line for the user where the missing module belongs to an extra, else None."""
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(module)
    return extra and f"{module} is not installed: pip install 'dear-reranker[{extra}]'"


def require(*modules: str) -> None:
    """Check before long work: raises ModuleNotFoundError for the first that is not installed. Imports none."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
