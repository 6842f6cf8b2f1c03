"""Reranks a whole query log as one Ray Data job, with the code and the scores of the online graph."""
