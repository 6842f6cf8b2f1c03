"""Settings: closed, frozen, and compatible with the names of the previous release."""

import logging
from typing import ClassVar

import pytest
from pydantic import ValidationError

from reranker.settings import CheckpointSettings, EngineSettings, Settings


class Renamed(Settings):
    renamed_fields: ClassVar[dict[str, str]] = {"worker_count": "workers"}

    workers: int = 1


@pytest.mark.parametrize(
    ("kind", "old", "new", "named"),
    [
        (CheckpointSettings, {"template": "plain"}, {"template": "bare"}, "bare"),
        (EngineSettings, {"forward": "plain"}, {"forward": "huggingface"}, "huggingface"),
        (Renamed, {"worker_count": 3}, {"workers": 3}, "workers"),
    ],
)
def test_old_setting_name_works_and_logs_the_new_name(
    kind: type[Settings], old: dict[str, object], new: dict[str, object], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert kind.model_validate(old) == kind.model_validate(new)
    assert f"is now called {named}" in caplog.text
    assert "next release" in caplog.text


def test_old_and_new_setting_name_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="worker_count"):
        Renamed.model_validate({"worker_count": 3, "workers": 2})


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_batch_token\n"):
        EngineSettings.model_validate({"max_batch_token": 3})
