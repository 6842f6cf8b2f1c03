"""A graph, or a whole cluster, on this machine: started, looked at, stopped."""
