"""A head that sentence-transformers keeps beside an encoder: a pooling, and small layers, each in a directory.

`modules.json` lists them; the Ettin rerankers are saved so. Source of the files' meaning: sentence-transformers 6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reranker.checkpoints.json_files import read_object, read_objects
from reranker.errors import CheckpointError

Pooling = Literal["cls", "mean"]

BODIES = frozenset({"modernbert"})  # model types that may have such a head
NORM_EPSILON = 1e-5  # of torch's LayerNorm, which the module leaves as it is
_ACTIVATIONS = ("GELU", "Identity", "ReLU", "SiLU", "Tanh")  # of torch.nn
_WEIGHTS = "model.safetensors"
_FIRST = "Transformer"


@dataclass(frozen=True, slots=True)
class ChainLayer:
    """directory: of its files. kind: "dense" or "norm". activation: in lower case; None for none."""

    directory: str
    kind: Literal["dense", "norm"]
    inputs: int
    outputs: int
    bias: bool = True
    activation: str | None = None

    @property
    def tensors(self) -> str:
        """What the names of its tensors begin with in its file."""
        return "norm" if self.kind == "norm" else "linear"


@dataclass(frozen=True, slots=True)
class ModuleChain:
    """pooling: the state of the first token, or the mean of all. layers: the last has one output."""

    pooling: Pooling
    layers: tuple[ChainLayer, ...]

    def weights(self, directory: Path) -> tuple[Path, ...]:
        """Their weight files. Raises CheckpointError for one that is not there."""
        files = tuple(directory / layer.directory / _WEIGHTS for layer in self.layers)
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise CheckpointError(
                f"{missing} is not there, and modules.json lists it: copy all files of the checkpoint"
            )
        return files


def module_chain(directory: Path) -> ModuleChain | None:
    """The head in a checkpoint's modules; None if it has none. Raises CheckpointError for one that is not known."""
    modules = read_objects(directory / "modules.json")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != [_FIRST, "Pooling"]:
        return None
    paths = [str(module.get("path", "")) for module in modules]
    outputs = read_object(directory / paths[-1] / "config.json").get("out_features")
    if kinds[-1] != "Dense" or outputs != 1:
        raise CheckpointError(
            f"{directory.name} gives embeddings, and no score (its modules are {', '.join(kinds)}): it is a "
            "bi-encoder, which reads query and document apart; a reranker reads both at once: name a cross-encoder"
        )
    pooling = _pooling(read_object(directory / paths[1] / "config.json"), directory)
    layers = tuple(_layer(directory, path, kind) for path, kind in zip(paths[2:], kinds[2:], strict=True))
    return ModuleChain(pooling, layers)


def _pooling(config: dict[str, Any], directory: Path) -> Pooling:
    mode = config.get("pooling_mode")
    if mode is None:
        old = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
        modes = [name for name in config if name.startswith("pooling_mode_") and config[name]]
        mode = old.get(modes[0]) if len(modes) == 1 else None
    if mode not in ("cls", "mean"):
        raise CheckpointError(f"{directory.name} pools by {mode!r}: only cls and mean are known")
    return "cls" if mode == "cls" else "mean"


def _layer(directory: Path, path: str, kind: str) -> ChainLayer:
    config = read_object(directory / path / "config.json")
    if kind == "LayerNorm":
        size = int(config.get("dimension", 0))
        return ChainLayer(path, "norm", size, size)
    if kind != "Dense" or config.get("use_residual"):
        raise CheckpointError(f"{directory.name} has a module that is not known here: {kind} in {path}")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = name.rsplit(".", 1)[-1]
    if not name.startswith("torch.nn.") or activation not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise CheckpointError(f"{directory.name}: activation {name!r} in {path} is not known: it may be {known}")
    return ChainLayer(
        path,
        "dense",
        int(config.get("in_features", 0)),
        int(config.get("out_features", 0)),
        bool(config.get("bias", True)),
        None if activation == "Identity" else activation.lower(),
    )


def chain_files(directory: Path) -> tuple[Path, ...]:
    """All files of a checkpoint's modules; none if it has no head of this kind. Raises CheckpointError."""
    chain = module_chain(directory)
    if chain is None:
        return ()
    return (directory / "modules.json", *module_configs(directory), *chain.weights(directory))


def module_configs(directory: Path) -> tuple[Path, ...]:
    """The config of each module behind the transformer; of a LogitScore, the tokens that it reads."""
    modules = read_objects(directory / "modules.json")
    paths = [directory / str(module["path"]) / "config.json" for module in modules if module.get("path")]
    return tuple(path for path in paths if path.is_file())
