"""Checkpoints on disk: files, manifest, weights, fingerprint, import."""
