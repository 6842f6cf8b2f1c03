"""Start, inspect and stop a graph, or a whole cluster, on this machine."""
