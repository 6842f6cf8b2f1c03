"""A fixture that calls the `reranker` command in this process."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.cli.main import main

PASSAGES = ["Bread rises because of yeast.", "High tide is at noon.", "[bold]Low[/bold] tide — 6 h later."]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Calls the command in this process, in a directory with a few files."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys

    def __call__(self, *args: str | Path) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        out, err = (re.sub(r"\x1b\[[0-9;]*m", "", text) for text in self._capsys.readouterr())
        return Ended(ended.value.code or 0, out, err)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_BACKEND_LOG_LEVEL", "TRANSFORMERS_VERBOSITY"):
        monkeypatch.setenv(name, "set")  # `main` sets them if they are unset: restore them after the test
        monkeypatch.delenv(name)
    (tmp_path / "passages.txt").write_text("\n".join(["", *PASSAGES, " "]))
    return Shell(tmp_path, capsys)
