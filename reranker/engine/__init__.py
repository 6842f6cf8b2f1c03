"""Scores token ids: batches, memory and worker threads. The forward passes are in models/."""
