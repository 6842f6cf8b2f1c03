"""The `reranker` command: one file a command, shared options in options.py."""
