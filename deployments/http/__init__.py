"""The HTTP interface of the graph: routes, bodies, dialects."""
