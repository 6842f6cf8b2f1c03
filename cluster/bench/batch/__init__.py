"""`reranker bench batch`: the whole job beside the engine alone, its memory as it grows, and its scaling."""
