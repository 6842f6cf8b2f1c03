"""The import law: `deployments -> reranker <- cluster`, and inside `reranker` only downward, room by room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reranker", "deployments", "cluster")
FORBIDDEN = {
    "reranker": {"ray", "fastapi", "starlette", "deployments", "cluster"},
    "deployments": {"cluster"},
    "cluster": {"deployments"},
}

# The rooms of the core from top to bottom: a room may import from the floors below its own, and from itself.
# A module at the top level that is not named here belongs to the room "request".
FLOORS: tuple[set[str], ...] = (
    {"rerank", "importing"},  # the package's front door, and the import of checkpoints
    {"fidelity", "training"},
    {"engine"},
    {"checkpoints"},
    {"request", "scheduling", "ir"},  # encoding, prompt, ranking: the path of a request, without weights
    {"values"},  # what all others speak of: see VALUES
)
VALUES = {"version", "extras", "types", "pairs", "text", "settings", "errors", "files"}
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported(source: str) -> Iterator[str]:
    """Every dotted name that is imported anywhere in it, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """The file of this project that a dotted name comes from: `reranker.ir.runs.Run` -> `reranker/ir/runs.py`."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = Path(*parts[:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (ROOT / file).is_file():
                return file.as_posix()
    return None


def room_of(file: str) -> str:
    """`reranker/ir/runs.py` -> `ir`; of the package itself, its front door."""
    _, first, *rest = file.split("/")
    name = first.removesuffix(".py")
    if name == "__init__":
        return "rerank"
    if rest or name in FLOOR_OF:
        return name
    return "values" if name in VALUES else "request"


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_import_walk_sees_imports_of_every_kind() -> None:
    source = "import a.b, c\nfrom d.e import f as g\ndef h():\n    if True:\n        from i import j"
    assert set(imported(source)) == {"a.b", "c", "d.e.f", "i.j"}
    assert module_of("reranker.engine.models.llama.LlamaModel") == "reranker/engine/models/llama.py"
    assert module_of("reranker.Reranker") == "reranker/__init__.py"
    assert module_of("numpy.ndarray") is None
    assert room_of("reranker/engine/models/llama.py") == "engine"
    assert room_of("reranker/types.py") == "values"
    assert room_of("reranker/pair_encoder.py") == "request"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_form_a_v(package: str) -> None:
    files = sources(package)
    assert files
    broken = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file.read_text())
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert not broken


def test_core_rooms_import_downward_only() -> None:
    broken = []
    for path in sources("reranker"):
        file = path.relative_to(ROOT).as_posix()
        room = room_of(file)
        if room == "embedded" or file == "reranker/__init__.py":
            continue
        assert room in FLOOR_OF, f"{file} is in no room of FLOORS: add it"
        for name in imported(path.read_text()):
            target = module_of(name) if name.split(".")[0] == "reranker" else None
            if target is None or (other := room_of(target)) == room:
                continue
            if FLOOR_OF[other] <= FLOOR_OF[room]:
                broken.append(f"{file} imports {name}")
    assert not broken


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_have_no_import_circle(package: str) -> None:
    """Between files, also where an import stands inside a function: those break only when they are called."""
    graph: dict[str, set[str]] = {}
    for path in sources(package):
        file = path.relative_to(ROOT).as_posix()
        targets = {module_of(name) for name in imported(path.read_text())}
        graph[file] = {target for target in targets if target and target.startswith(f"{package}/")} - {file}
    # `from package import module` also names the package itself, which is no circle unless it imports back.
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import reranker, reranker.settings, reranker.ir.runs, reranker.types", {"torch", "transformers", "ray"}),
        ("from reranker import InvalidField, ScoredCandidate", {"torch", "transformers", "ray"}),
        # Hugging Face's modeling code takes as long to import as all the rest, for each actor that starts.
        ("from reranker import Reranker", {"ray", "fastapi", "matplotlib", "transformers.modeling_utils"}),
        ("import cluster.cli.main", {"torch", "transformers", "ray", "scipy", "matplotlib"}),
    ],
)
def test_importing_light_modules_loads_no_heavy_library(program: str, unwanted: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    loaded = set(done.stdout.split())
    assert program.split()[1].rstrip(",") in loaded
    assert not unwanted & loaded


def test_rerank_command_loads_no_library_of_other_commands(tmp_path: Path) -> None:
    """`reranker rerank` is started often: an import of Ray alone would add seconds to each."""
    (tmp_path / "passages.txt").write_text("High tide is at noon.\n")
    program = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from cluster.cli.main import main
main(["rerank", "-q", "tide", "--json", sys.argv[1]])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "passages.txt"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "High tide is at noon." in done.stdout
    loaded = set(done.stderr.split())
    assert "torch" in loaded
    assert not {"ray", "fastapi", "starlette", "matplotlib"} & loaded
