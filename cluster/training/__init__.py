"""Train a reranker: data, teachers, and the job on Ray Train."""
