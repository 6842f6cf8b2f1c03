"""The container image: what goes in, who runs it, and that a linter finds nothing. It is not built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "cluster" / "topologies" / "Dockerfile"
LINES = re.sub(r"\\\n", " ", re.sub(r"^ *#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE)).splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name of a stage -> its steps, with those of the stage that it is built from before."""
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for command, rest in STEPS:
        if command == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = list(found.get(base, []))
        current.append((command, rest))
    return found


@pytest.mark.parametrize("target", ["cuda", "cpu"])
def test_targets_run_as_a_user_and_are_checked(target: str) -> None:
    steps = stages()[target]
    assert [rest for command, rest in steps if command == "USER"] == ["1000:1000"]
    (check,) = (rest for command, rest in steps if command == "HEALTHCHECK")
    assert check.endswith('"http://127.0.0.1:8000/health"]')
    (copied,) = (rest for command, rest in steps if command == "COPY")  # no sources, no requirements
    assert copied == f"--from=build-{target} /opt/venv /opt/venv"


def test_base_images_are_pinned() -> None:
    (python,) = (rest for command, rest in STEPS if command == "ARG")
    assert re.fullmatch(r"PYTHON=3\.1[123]\.\d+-slim-\w+", python)
    bases = {rest.partition(" AS ")[0] for command, rest in STEPS if command == "FROM"}
    assert bases - stages().keys() == {"docker.io/library/python:${PYTHON}"}


def test_versions_come_from_the_lock() -> None:
    environment = " ".join(rest for command, rest in stages()["build"] if command == "ENV")
    (constraints,) = re.findall(r'UV_CONSTRAINT="([^"]+)"', environment)
    assert set(constraints.split()) == {f"requirements/{path.name}" for path in (ROOT / "requirements").glob("*.txt")}
    installs = [part for _, rest in STEPS for part in rest.split("&&") if " install " in part]
    assert len(installs) == 6
    assert not [part for part in installs if "--no-deps ." not in part and "pyproject.toml" not in part][2:]


def test_no_step_names_a_secret() -> None:
    assert not re.search(r"token|password|secret|ARG (?!PYTHON)", DOCKERFILE.read_text("utf-8"), re.IGNORECASE)


def test_the_build_context_is_what_the_package_is_built_from() -> None:
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert rules[-1] == "**/__pycache__"
    sent = {path for rule in rules[1:-1] for path in ROOT.glob(rule.removeprefix("!"))}
    assert all(list(ROOT.glob(rule.removeprefix("!"))) for rule in rules[1:-1])
    names = {path.relative_to(ROOT).parts[0] for path in sent}
    assert names.isdisjoint({"tests", "docs", ".git", ".venv"})
    assert names >= {"reranker", "deployments", "cluster", "requirements", "pyproject.toml", "LICENSE", "NOTICE"}
    # cluster/configs links to these.
    assert names >= {path.resolve().name for path in (ROOT / "cluster" / "configs").iterdir() if path.is_symlink()}


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
