"""What a model is on disk: files, manifest, weights, fingerprint, and how one is imported."""
