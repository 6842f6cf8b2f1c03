"""The contenders: our packed steps, the same steps with padding, and sentence-transformers' trainer."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from cluster.bench.engine.contender import Contender

_PEERS = Path(__file__).parent / "peers"
PACKED = Contender("reranker", _PEERS / "packed.py")
PEERS: Mapping[str, Contender] = MappingProxyType(
    {
        "padded": Contender("padded", _PEERS / "padded.py"),
        "crossencoder-trainer": Contender(
            "crossencoder-trainer",
            _PEERS / "crossencoder_trainer.py",
            "{bin}/pip install torch==2.13.0 'sentence-transformers[train]'",
        ),
    }
)
