"""How good are runs: `reranker evaluate`, its table, its page with pictures, and suites of whole collections."""
