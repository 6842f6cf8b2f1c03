"""`reranker bench engine`: our engine against its peers and against the roofline of the machine."""
