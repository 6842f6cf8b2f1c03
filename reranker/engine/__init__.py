"""Token ids in, logits out: batches, memory, worker threads; the forwards are in models/."""
