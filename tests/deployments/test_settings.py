"""Ray and our own strict settings accept the shipped config files, and these deploy what they promise."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from deployments.settings import AppSettings

ROOT = Path(__file__).parents[2]
FILES = ["serve_config.yaml", "serve_config.laptop.yaml"]


def parsed(name: str) -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(yaml.safe_load((ROOT / name).read_text()))


def keys_unknown_to_ray(given: Any, understood: Any, path: str = "") -> list[str]:
    """Keys that Ray ignored, as it does with those it does not know."""
    if not isinstance(given, dict):
        return []
    return [
        unknown
        for key, value in given.items()
        for unknown in (
            keys_unknown_to_ray(value, understood[key], f"{path}{key}.") if key in understood else [f"{path}{key}"]
        )
    ]


@pytest.mark.parametrize("name", FILES)
def test_config_file_has_only_keys_that_ray_knows_and_binds_to_loopback(name: str) -> None:
    written = yaml.safe_load((ROOT / name).read_text())
    understood = parsed(name).model_dump(exclude_unset=True)
    assert keys_unknown_to_ray(written, understood) == []
    for given, found in zip(written["applications"], understood["applications"], strict=True):
        assert keys_unknown_to_ray(given, found) == []
        for one, other in zip(given.get("deployments", []), found.get("deployments", []), strict=True):
            assert keys_unknown_to_ray(one, other) == []
    assert parsed(name).http_options.host == "127.0.0.1"


@pytest.mark.parametrize("name", FILES)
def test_config_file_args_are_valid_settings(name: str) -> None:
    (application,) = parsed(name).applications
    settings = AppSettings.model_validate(application.args)
    assert settings.model_dump(exclude_unset=True) == application.args


def test_production_config_serves_the_8b_in_bfloat16_with_one_replica_per_gpu() -> None:
    (application,) = parsed("serve_config.yaml").applications
    settings = AppSettings.model_validate(application.args)
    assert (settings.model_name, settings.dtype) == ("abdoelsayed/dear-8b-reranker-ranknet-v1", "bfloat16")
    assert (settings.template, settings.max_pair_tokens) == ("dear", 228)
    by_name = {deployment.name: deployment for deployment in application.deployments}
    scorer = by_name["Scorer"]
    assert scorer.ray_actor_options.num_gpus == 1
    assert scorer.ray_actor_options.resources == {"gpu_24gb": 1}
    for deployment in by_name.values():
        assert deployment.autoscaling_config["max_replicas"] > deployment.autoscaling_config["min_replicas"] >= 1
    assert set(by_name) == {"Gateway", "Tokenizer", "Scorer"}


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"modle": "embedded"}, "modle"),
        ({"engine": {"max_batch_token": 1}}, "max_batch_token"),
        ({"engine": {"max_batch_tokens": 0}}, "max_batch_tokens"),
        ({"template": "deer"}, "template"),
        ({"device": "gpu"}, "device"),
        ({"limits": {"max_documents": -1}}, "max_documents"),
        ({"model": ""}, "model"),
        ({"admission": {"queue_s": 0}}, "queue_s"),
        ({"auth": {"keys_file": "keys.json"}}, "keys_file 'keys.json' is a relative path"),
        ({"auth": {"key_file": "/keys.json"}}, "key_file"),
        ({"admission": {"queue_s": 60}, "limits": {"timeout_ms": 30_000}}, "make the queue shorter"),
    ],
)
def test_misspelt_or_impossible_setting_is_an_error(args: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        AppSettings.model_validate(args)


def test_settings_are_parsed_from_text_and_frozen() -> None:
    settings = AppSettings.model_validate({"model": "embedded", "max_pair_tokens": "100", "strict_model": "true"})
    assert (settings.checkpoint.max_pair_tokens, settings.strict_model) == (100, True)
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = "other"  # type: ignore[misc]
