"""`reranker bench batch`: throughput compared with the engine alone, memory by input size, scaling by scorers."""
