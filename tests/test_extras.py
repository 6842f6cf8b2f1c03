"""A dependency of an extra that is missing: one line that says which extra to install."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster.sample import CORPUS, QRELS, RUN
from reranker.extras import how_to_install, require

BLOCKED = """
import sys
for name in {modules!r}:
    sys.modules[name] = None
    sys.modules[name + ".style"] = None
from cluster.cli.main import main
main({args!r})
"""


def run_without(modules: list[str], *args: str | Path) -> "subprocess.CompletedProcess[str]":
    """The command in an environment where these modules cannot be imported."""
    program = BLOCKED.format(modules=modules, args=[str(arg) for arg in args])
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "extra"),
    [("matplotlib.style", "eval"), ("scipy", "eval"), ("peft", "lora"), ("bm25s", "train"), ("numpy", None)],
)
def test_missing_module_names_its_extra(module: str, extra: str | None) -> None:
    line = how_to_install(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert (extra is None and line is None) or (line is not None and f"dear-reranker[{extra}]" in line)


def test_require_raises_for_the_first_missing_module_and_imports_none() -> None:
    require("json", "antigravity")
    assert "antigravity" not in sys.modules
    with pytest.raises(ModuleNotFoundError) as caught:
        require("json", "no_such_module", "other")
    assert caught.value.name == "no_such_module"


def test_page_without_matplotlib_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run_without(["matplotlib"], "evaluate", "--qrels", QRELS, RUN, "--html", page)
    assert (done.returncode, done.stderr) == (
        2,
        "reranker: matplotlib is not installed: pip install 'dear-reranker[eval]'\n",
    )
    assert not page.exists()


def test_commands_that_need_no_extra_run_without_them(tmp_path: Path) -> None:
    extras = ["matplotlib", "scipy", "peft"]
    assert run_without(extras, "evaluate", "--qrels", QRELS, RUN).returncode == 0
    passages = tmp_path / "passages.jsonl"
    passages.write_text("".join(CORPUS.read_text().splitlines(keepends=True)[:3]))
    done = run_without(extras, "rerank", "-q", "tides", passages)
    assert done.returncode == 0, done.stderr
