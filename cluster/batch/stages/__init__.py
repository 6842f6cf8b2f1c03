"""The stages that Ray Data runs for each unit of work: read, encode, score."""
