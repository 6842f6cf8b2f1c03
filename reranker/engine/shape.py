"""A model's matrices and how many bytes its weights take. Pure arithmetic over the config: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reranker.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Architectures whose layers this module counts: causal decoders with a gated MLP, encoders with an ungated one.
GEMMAS = frozenset({"gemma", "gemma2", "gemma3_text"})
DECODERS = frozenset({"llama", "mistral", "qwen2", "qwen3"}) | GEMMAS
ENCODERS = frozenset({"bert", "camembert", "roberta", "xlm-roberta"})


@dataclass(frozen=True, slots=True)
class Linear:
    """One matrix of a layer, y = x Wᵀ. Matrices with the same input are fused into one."""

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that the counts depend on. embeddings: total rows of all embedding tables. float32_norms: whether
    norms copy their inputs in float32 on a GPU too, and some follow attention and MLP, as in Gemma.
    """

    causal: bool
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    embeddings: int
    float32_norms: bool = False

    @classmethod
    def of(cls, config: PretrainedConfig) -> ModelShape:
        """Raises CheckpointError for an architecture that is in neither DECODERS nor ENCODERS."""
        causal = config.model_type in DECODERS
        if not causal and config.model_type not in ENCODERS:
            known = ", ".join(sorted(DECODERS | ENCODERS))
            raise CheckpointError(f"no weight counts for architecture {config.model_type!r}: use one of {known}")
        heads = config.num_attention_heads
        tables = () if causal else (config.max_position_embeddings, config.type_vocab_size)
        return cls(
            causal=causal,
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            intermediate=config.intermediate_size,
            embeddings=config.vocab_size + sum(tables),
            float32_norms=config.model_type in GEMMAS,
        )

    @property
    def linears(self) -> tuple[Linear, ...]:
        """A layer's matrices, fused where possible: few large products run fastest."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            Linear("qkv", self.hidden, queries + 2 * keys),
            Linear("attention output", queries, self.hidden),
            Linear("mlp in", self.hidden, self.intermediate * (2 if self.causal else 1)),
            Linear("mlp out", self.intermediate, self.hidden),
        )

    @property
    def layer_weights(self) -> int:
        """d(h + 2g)e + hed + 3df for width d, h heads and g key heads of size e, MLP width f; an encoder has 2df."""
        return sum(linear.weights for linear in self.linears)

    @property
    def head_weights(self) -> int:
        """One row; an encoder has a square pooler as well."""
        return self.hidden * (1 if self.causal else self.hidden + 1)

    @property
    def matmul_weights(self) -> int:
        """Weights of all layers: every token is multiplied with them."""
        return self.layers * self.layer_weights

    def weights_bytes(self, bytes_per_weight: int) -> int:
        """Bytes of the whole checkpoint without norms and biases, which are below 0.5 %."""
        return (self.matmul_weights + self.head_weights + self.embeddings * self.hidden) * bytes_per_weight
