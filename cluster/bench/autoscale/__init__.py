"""`reranker bench autoscale`: our policy against Serve's default, in simulation and on a real Serve."""
