"""`python -m cluster` is the `reranker` command."""

from cluster.cli.main import main

main()
