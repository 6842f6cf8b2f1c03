"""Drivers that run in the project's own environment, under the same `peers/serve.py` as every peer."""
