"""`reranker evaluate`: measures of runs as a table or an HTML page, and suites that rerank whole collections."""
