"""Drivers of other engines. `serve.py` runs each in an environment of its own: they import nothing of ours."""
