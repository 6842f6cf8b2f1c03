"""The package as others get it: what it imports is declared, its files travel, and its wheel runs anywhere."""

import ast
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions
from itertools import chain
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

from reranker import __version__

ROOT = Path(__file__).parents[1]
OURS = {"reranker", "deployments", "cluster"}
# Run in environments of their own.
DRIVERS = [ROOT / "cluster" / "bench" / room / "peers" for room in ("engine", "training")]
NOT_IMPORTED = {"dev", "contract", "haproxy"}  # for tests; haproxy is a program that Serve starts
APART = {"bi-encoder", "contract", "haproxy"}  # not in the lock: of use to few, or with half a hundred packages
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WHEEL_LIMIT_BYTES = 60e6  # the embedded weights are 45 MB of it


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[ \[<>=!~;]", name.strip())[0]).lower()


def imported_modules() -> Iterator[str]:
    """Top-level names of all modules that the packages import, also inside functions."""
    for package in OURS:
        for file in (ROOT / package).rglob("*.py"):
            if any(driver in file.parents for driver in DRIVERS):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.partition(".")[0]


def test_every_import_is_declared_and_every_declaration_is_imported() -> None:
    distributions = packages_distributions()
    modules = set(imported_modules()) - OURS - sys.stdlib_module_names
    providers = {module: set(map(canonical, distributions.get(module, [module]))) for module in modules}
    extras = {
        name: packages for name, packages in PROJECT["optional-dependencies"].items() if name not in NOT_IMPORTED
    }
    declared = {canonical(name) for name in [*PROJECT["dependencies"], *chain.from_iterable(extras.values())]}
    # Several distributions share a namespace, as OpenTelemetry's do.
    assert [module for module, found in providers.items() if not found & declared] == []
    assert declared - set(chain.from_iterable(providers.values())) == set()


def test_lock_pins_every_dependency_and_names_no_address() -> None:
    lines = [line for file in (ROOT / "requirements").glob("*.txt") for line in file.read_text().splitlines()]
    assert not [line for line in lines if "://" in line or " @ " in line]
    pinned = {canonical(line): line.split(";")[0].strip() for line in lines}
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", version) for version in pinned.values())
    wanted = [
        *PROJECT["dependencies"],
        *(name for extra, names in PROJECT["optional-dependencies"].items() if extra not in APART for name in names),
    ]
    assert {canonical(name) for name in wanted} - {"dear-reranker"} <= set(pinned)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that nothing is left in the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    subprocess.run(
        [sys.executable, "-c", _COPY_SOURCES, str(ROOT), str(source)], check=True, capture_output=True, text=True
    )
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, source],
        check=True,
        capture_output=True,
    )
    (built,) = directory.glob("*.whl")
    return built


_COPY_SOURCES = """
import shutil, sys
root, target = sys.argv[1:]
ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "docs")
shutil.copytree(root, target, symlinks=True, ignore=ignored)
"""


class Installed:
    """An environment with the wheel alone, whose dependencies are those of this one, in a directory outside."""

    def __init__(self, wheel: Path, directory: Path) -> None:
        self.directory = directory / "empty"
        self.directory.mkdir()
        venv.create(directory / "venv", with_pip=False)
        self.bin = directory / "venv" / "bin"
        (site,) = (directory / "venv" / "lib").glob("python*/site-packages")
        pip = [sys.executable, "-m", "pip", "--python", self.bin / "python", "install", "--quiet", "--no-deps", wheel]
        subprocess.run(pip, check=True, capture_output=True)
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        for program in entry_points(group="console_scripts"):
            if program.name in ("ray", "serve"):  # installed with Ray, into an environment that this one only reads
                script = self.bin / program.name
                script.write_text(
                    f"#!{self.bin}/python\nfrom {program.module} import {program.attr} as main\nmain()\n"
                )
                script.chmod(0o755)

    def __call__(self, *command: str, timeout_s: float = 300) -> str:
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return kept | {"PATH": f"{self.bin}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


def test_wheel_is_small_enough(wheel: Path) -> None:
    assert wheel.name.startswith(f"dear_reranker-{__version__}-")
    assert wheel.stat().st_size < WHEEL_LIMIT_BYTES


def test_every_file_of_the_packages_travels_in_the_wheel(wheel: Path) -> None:
    files = {file for package in OURS for file in (ROOT / package).rglob("*") if file.is_file()}
    names = {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}
    with ZipFile(wheel) as archive:
        assert names - set(archive.namelist()) == set()


def test_installed_package_comes_from_the_wheel_and_is_typed(installed: Installed) -> None:
    program = "import reranker, deployments, cluster; print(*(p.__file__ for p in (reranker, deployments, cluster)))"
    for file in installed("python", "-c", program).split():
        assert Path(file).is_relative_to(installed.bin.parent)
        assert Path(file).with_name("py.typed").is_file()
    assert installed("reranker", "--version").strip() == __version__


@pytest.mark.parametrize(
    ("name", "file"),
    [("laptop", "serve_config.laptop.yaml"), ("production", "serve_config.yaml"), ("env", "serve.env")],
)
def test_installed_package_prints_the_configurations_of_the_checkout(
    name: str, file: str, installed: Installed
) -> None:
    assert installed("reranker", "config", "print", name) == (ROOT / file).read_text()


def test_installed_package_reranks_with_the_embedded_model(installed: Installed) -> None:
    (installed.directory / "passages.txt").write_text("Bread rises because of yeast.\nHigh tide is at noon.\n")
    assert '"index": 1' in installed(
        "reranker", "rerank", "-q", "when is high tide", "-n", "1", "--json", "passages.txt"
    )


@pytest.mark.slow
def test_installed_package_runs_demo_batch_and_bench(installed: Installed) -> None:
    assert "nDCG@10" in installed("reranker", "demo", "--port", "8377")
    sample = next((installed.bin.parent / "lib").glob("python*/site-packages/cluster/sample"))
    files = ("--queries", "queries.jsonl"), ("--corpus", "corpus.jsonl"), ("--run", "run.trec")
    options = [part for option, name in files for part in (option, str(sample / name))]
    installed("reranker", "batch", *options, "--output", "out")
    assert (installed.directory / "out" / "_SUCCESS").is_file()
    installed(
        "reranker", "bench", "http", "--scenario", "overhead", "--requests", "5", "--rounds", "1", "--port", "8378"
    )


@pytest.mark.slow
def test_installed_package_serves_a_printed_configuration(installed: Installed) -> None:
    """As the README says: print the configuration, and give it to `serve run`."""
    config = installed.directory / "serve_config.yaml"
    config.write_text(installed("reranker", "config", "print", "laptop").replace("8000", "8379"))
    for command in (["serve", "run", config.name], ["reranker", "serve", "--port", "8379"]):
        assert answers(installed, command, "http://127.0.0.1:8379")


def answers(installed: Installed, command: list[str], url: str) -> bool:
    """Whether what this command starts is ready within three minutes; it is stopped again."""

    process = subprocess.Popen(
        [installed.bin / command[0], *command[1:]], cwd=installed.directory, env=installed.environment
    )
    try:
        for _ in range(180):
            time.sleep(1)
            try:
                if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                    return True
            except httpx.HTTPError:
                if process.poll() is not None:
                    return False
        return False
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
