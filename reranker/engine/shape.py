"""A model's matrices and how many bytes its weights take. Pure arithmetic over the config: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reranker.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Architectures whose layers this module counts: causal decoders with a gated MLP, encoders with an ungated one, and
# encoders with a gated one and rotary positions, some of whose layers attend to a window only; encoder-decoders whose
# score is read at the first decoder token, with either MLP.
GEMMAS = frozenset({"gemma", "gemma2", "gemma3_text"})
DECODERS = frozenset({"llama", "mistral", "qwen2", "qwen3"}) | GEMMAS
ENCODERS = frozenset({"bert", "camembert", "roberta", "xlm-roberta"})
LOCAL_ENCODERS = frozenset({"modernbert"})
ENCODER_DECODERS = frozenset({"mt5", "t5"})


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
    """The sizes that the counts depend on.

    embeddings: total rows of all embedding tables. gated: whether the MLP has a gate. local_layers: how many of the
    layers before the last attend only to the `window` tokens on each side. pools_all: whether the logit is read from
    all tokens rather than from one. decoder_layers: how many more layers one token of each pair goes through, which
    attends to all tokens after the other layers. float32_norms: whether norms copy their inputs in float32 on a GPU
    too, and some follow attention and MLP, as in Gemma.
    """

    causal: bool
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    embeddings: int
    gated: bool
    local_layers: int = 0
    window: int = 0
    pools_all: bool = False
    decoder_layers: int = 0
    float32_norms: bool = False

    @classmethod
    def of(cls, config: PretrainedConfig) -> ModelShape:
        """Raises CheckpointError for an architecture that is in none of the lists above."""
        if config.model_type in ENCODER_DECODERS:
            return cls._of_encoder_decoder(config)
        causal, local = config.model_type in DECODERS, config.model_type in LOCAL_ENCODERS
        if not causal and not local and config.model_type not in ENCODERS:
            known = ", ".join(sorted(DECODERS | ENCODERS | LOCAL_ENCODERS | ENCODER_DECODERS))
            raise CheckpointError(f"no weight counts for architecture {config.model_type!r}: use one of {known}")
        heads = config.num_attention_heads
        tables = () if causal or local else (config.max_position_embeddings, config.type_vocab_size)
        return cls(
            causal=causal,
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            intermediate=config.intermediate_size,
            embeddings=config.vocab_size + sum(tables),
            gated=causal or local,
            local_layers=config.layer_types[:-1].count("sliding_attention") if local else 0,
            window=config.sliding_window if local else 0,
            pools_all=local and config.classifier_pooling == "mean",
            float32_norms=config.model_type in GEMMAS,
        )

    @classmethod
    def _of_encoder_decoder(cls, config: PretrainedConfig) -> ModelShape:
        return cls(
            causal=False,
            layers=config.num_layers,
            hidden=config.d_model,
            heads=config.num_heads,
            kv_heads=config.num_heads,
            head_dim=config.d_kv,
            intermediate=config.d_ff,
            embeddings=config.vocab_size,
            gated=config.is_gated_act,
            pools_all=True,
            decoder_layers=config.num_decoder_layers,
        )

    @property
    def linears(self) -> tuple[Linear, ...]:
        """A layer's matrices, fused where possible: few large products run fastest."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            Linear("qkv", self.hidden, queries + 2 * keys),
            Linear("attention output", queries, self.hidden),
            Linear("mlp in", self.hidden, self.intermediate * (2 if self.gated else 1)),
            Linear("mlp out", self.intermediate, self.hidden),
        )

    @property
    def layer_weights(self) -> int:
        """d(h + 2g)e + hed + 3df for width d, h heads and g key heads of size e, MLP width f; without a gate 2df."""
        return sum(linear.weights for linear in self.linears)

    @property
    def head_weights(self) -> int:
        """One row; an encoder without a decoder has a square layer before it."""
        return self.hidden * (1 if self.causal or self.decoder_layers else self.hidden + 1)

    @property
    def decoder_weights(self) -> int:
        """Of all decoder layers: each has those of another layer and as many again for attention over its tokens."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return self.decoder_layers * (self.layer_weights + 2 * self.hidden * (queries + keys))

    @property
    def matmul_weights(self) -> int:
        """Weights of all layers but a decoder's behind them: every token is multiplied with them."""
        return self.layers * self.layer_weights

    def weights_bytes(self, bytes_per_weight: int) -> int:
        """Bytes of the whole checkpoint without norms and biases, which are below 0.5 %."""
        layers = self.matmul_weights + self.decoder_weights
        return (layers + self.head_weights + self.embeddings * self.hidden) * bytes_per_weight
