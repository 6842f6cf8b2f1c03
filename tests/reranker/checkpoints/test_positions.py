"""Max pair length of architectures whose positions count from the pad token's id."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig, AutoModelForSequenceClassification

from reranker.checkpoints.encoders import load_encoder
from reranker.checkpoints.positions import COUNT_FROM_PAD_ID, positions_of
from reranker.errors import CheckpointError
from reranker.settings import CheckpointSettings
from tests.checkpoints import rewrite_json, write_bert

# These also need boxes or entities beside the text, so a reranker cannot be one of them.
NOT_TEXT = {"layoutlmv3", "markuplm"}


def test_list_has_every_sequence_classifier_that_counts_positions_from_the_pad_id() -> None:
    """Found in the sources of transformers, so that a new architecture is not forgotten."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    models = Path(spec.origin).parent / "models"
    found = set()
    for config in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        classifier = re.compile(rf"class {config.__name__.removesuffix('Config')}\w*ForSequenceClassification")
        for path in models.glob(f"{config.__module__.split('.')[-2]}/modeling_*.py"):
            source = path.read_text()
            if classifier.search(source) and re.search(r"padding_idx \+ 1|\+ padding_idx\b", source):
                found.add(config.model_type)
    assert found == COUNT_FROM_PAD_ID


@pytest.mark.parametrize("pad", [0, 1, 5, -1])
@pytest.mark.parametrize("architecture", sorted(COUNT_FROM_PAD_ID - NOT_TEXT))
def test_longest_pair_is_the_longest_that_hugging_face_can_run(architecture: str, pad: int) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        architecture,
        vocab_size=50,
        hidden_size=24,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=20,
        num_labels=1,
        pad_token_id=pad,
        **{"attention_window": 4} if architecture == "longformer" else {},
        **{"entity_vocab_size": 5, "entity_emb_size": 24} if architecture == "luke" else {},
        **{"languages": ["en_XX"], "default_language": "en_XX"} if architecture == "xmod" else {},
        **{"channel_shrink_ratio": 1} if architecture == "lilt" else {},
        **{"mask_token_id": 3} if architecture == "esm" else {},
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    longest = positions_of(config, "toy")
    assert longest is not None
    ids = torch.full((1, longest), 9)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()
    if architecture != "longformer":  # it pads to a multiple of its window
        ids = torch.full((1, longest + 1), 9)
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=ids, attention_mask=torch.ones_like(ids))


@pytest.mark.parametrize("architecture", ["roberta", "roberta-prelayernorm"])
def test_checkpoint_whose_positions_count_from_no_pad_id_is_refused(architecture: str, tmp_path: Path) -> None:
    directory = write_bert(tmp_path / "toy", architecture=architecture)
    rewrite_json(directory / "config.json", pad_token_id=None)
    with pytest.raises(CheckpointError, match=f"toy has no pad_token_id .* from which {architecture} counts"):
        load_encoder(CheckpointSettings(model=str(directory)))
