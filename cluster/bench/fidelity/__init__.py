"""How far our scores are from the reference, for every shape of model: `reranker bench fidelity`."""
