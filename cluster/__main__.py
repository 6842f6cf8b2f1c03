"""`python -m cluster` is the `reranker` command."""

from cluster.cli import main

main()
