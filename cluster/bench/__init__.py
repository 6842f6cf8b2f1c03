"""Reproducible benchmarks: each prints tables and writes JSON."""

# A simulated GPU of this speed scores 400 pairs/s of MS MARCO's length: about what an 8B model does on a large GPU.
SIMULATED_TOKENS_PER_S = 40_000.0
