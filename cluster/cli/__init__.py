"""Commands of the `reranker` command line that need no cluster, one file each."""
