"""One driver per contender; `serve.py` runs it in its own process, and a peer's in its own environment."""
