"""One driver for each contender; `serve.py` runs it in a process, and for a peer in an environment, of its own."""
