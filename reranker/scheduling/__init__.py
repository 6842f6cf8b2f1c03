"""Which work runs next, and how much may wait."""
