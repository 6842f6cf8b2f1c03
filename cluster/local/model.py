"""A small Llama with random weights, written in seconds: the architecture of the 8B at a fraction of its size."""

from __future__ import annotations

from pathlib import Path


def write_small_llama(output: Path) -> None:
    """4 layers, 256 wide; otherwise as Llama 3: grouped heads, scaled rotary embeddings, a byte-level BPE."""
    from cluster.sample import CORPUS
    from reranker.checkpoints.synth import synthesize
    from reranker.checkpoints.synth_shapes import llama_shape
    from reranker.ir.texts import iter_corpus

    shape = llama_shape(4, 256, 4, 2, 64, 768, 4096, 8192, 500_000.0, rope_factor=8.0)
    synthesize(shape, output, [passage.text for _, passage in iter_corpus(CORPUS)])
