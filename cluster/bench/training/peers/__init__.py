"""One driver per contender of `reranker bench train`; `engine/peers/serve.py` runs it in a process of its own."""
