"""`reranker bench autoscale`: our policy beside Serve's default, simulated and on a real Serve."""
