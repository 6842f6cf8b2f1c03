"""How fast a training step is, beside padding and sentence-transformers' trainer."""
