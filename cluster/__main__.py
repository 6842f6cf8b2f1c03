"""`python -m cluster` runs the `reranker` command."""

from cluster.cli.main import main

main()
