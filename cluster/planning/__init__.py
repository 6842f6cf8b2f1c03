"""`reranker plan`: how many GPUs a load needs, what they cost and what would break first. Pure arithmetic."""
