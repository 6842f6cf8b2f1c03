"""Settings: closed, frozen, and kind to the names of the release before."""

import logging
from typing import ClassVar

import pytest
from pydantic import ValidationError

from reranker.settings import CheckpointSettings, EngineSettings, Settings


class Renamed(Settings):
    renamed_fields: ClassVar[dict[str, str]] = {"lanes": "workers"}

    workers: int = 1


@pytest.mark.parametrize(
    ("kind", "old", "field", "value"),
    [
        (CheckpointSettings, {"template": "plain"}, "template", "bare"),
        (EngineSettings, {"forward": "plain"}, "forward", "huggingface"),
        (Renamed, {"lanes": 3}, "workers", 3),
    ],
)
def test_old_setting_names_work_with_a_warning_that_names_the_new_one(
    kind: type[Settings],
    old: dict[str, object],
    field: str,
    value: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert getattr(kind.model_validate(old), field) == value
    assert (str(value) if field != "workers" else "workers") in caplog.text
    assert "next release" in caplog.text


def test_an_old_name_beside_the_new_one_is_refused() -> None:
    with pytest.raises(ValidationError, match="lanes"):
        Renamed.model_validate({"lanes": 3, "workers": 2})


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_batch_token\n"):
        EngineSettings.model_validate({"max_batch_token": 3})
