"""The HTTP face of the graph: routes, bodies, dialects."""
