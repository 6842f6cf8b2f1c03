"""What Ray Data runs on each unit of work: read, encode, score."""
