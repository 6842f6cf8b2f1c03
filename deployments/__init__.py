"""Online: the Ray Serve graph, thin shells over `reranker`."""
