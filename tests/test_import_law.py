"""The import law: `deployments -> reranker <- cluster`, and inside `reranker` only downward."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reranker", "deployments", "cluster")
FORBIDDEN = {
    "reranker": {"ray", "fastapi", "starlette", "deployments", "cluster"},
    "deployments": {"cluster"},
    "cluster": {"deployments"},
}

# From top to bottom: a module may import from the rows below its own. A package counts as one module. To add one,
# write its name in the lowest row that works.
LAYERS = (
    {"__init__"},
    {"rerank"},
    {"fidelity", "importing"},
    {"engine", "fingerprint"},
    {"models"},
    {"checkpoint", "measures"},
    {"encoding", "memory", "reference", "synth", "trec", "weights"},
    {
        "admission",
        "autoscaling",
        "card",
        "distinct",
        "estimate",
        "packing",
        "prompt",
        "ranking",
        "records",
        "roofline",
        "scheduler",
    },
    {
        "allocator",
        "device_thread",
        "embedded",
        "errors",
        "fairness",
        "lanes",
        "retry_budget",
        "settings",
        "throughput",
        "types",
    },
)
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}


def imported(source: str) -> Iterator[str]:
    """Every dotted name that is imported anywhere in it, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str:
    """`reranker.models.bert` -> `models`; what the package itself gives is its `__init__`."""
    first = name.split(".")[1] if "." in name else ""
    is_module = (ROOT / "reranker" / f"{first}.py").is_file() or (ROOT / "reranker" / first / "__init__.py").is_file()
    return first if first and is_module else "__init__"


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_the_walk_sees_imports_of_every_kind() -> None:
    source = "import a.b, c\nfrom d.e import f as g\ndef h():\n    if True:\n        from i import j"
    assert set(imported(source)) == {"a.b", "c", "d.e.f", "i.j"}
    assert module_of("reranker.models.generic.GenericModel") == "models"
    assert module_of("reranker.trec") == "trec"
    assert module_of("reranker.Reranker") == module_of("reranker") == "__init__"


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


def test_inside_the_core_imports_go_downward() -> None:
    broken = []
    for file in sources("reranker"):
        module = file.relative_to(ROOT / "reranker").parts[0].removesuffix(".py")
        assert module in ROW, f"{module} is in no row of LAYERS: add it"
        for name in imported(file.read_text()):
            if name.split(".")[0] == "reranker" and (target := module_of(name)) != module:
                assert target in ROW, f"{target} is in no row of LAYERS: add it"
                if ROW[target] <= ROW[module]:
                    broken.append(f"{module} imports {target}")
    assert not broken


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import reranker, reranker.settings, reranker.trec, reranker.types", {"torch", "transformers", "ray"}),
        ("import cluster.cli", {"torch", "transformers", "ray", "scipy", "matplotlib"}),
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(program: str, unwanted: set[str]) -> None:
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
