"""The README lets a stranger in: its blocks run as typed, and the documents name only what exists.

A comment before a block of the README says how it is tested:

    <!-- test: skip, REASON -->      never
    <!-- test: slow, REASON -->      by `make test-slow`
    <!-- test: starts the graph -->  by `make test-slow`, in the background, for
    <!-- test: needs the graph -->   these blocks

A block without a comment runs in `make test`.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import typer

from cluster.cli.main import app
from cluster.evaluation.group import DEFAULT
from cluster.local.host import free_port
from tests.test_import_law import module_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = {document: document.relative_to(ROOT).as_posix() for document in DOCUMENTS}
GRAPH_PORT = 8000  # in the README; the test takes a free one
BLOCK_TIMEOUT_S, START_TIMEOUT_S, STOP_TIMEOUT_S = 900, 600, 60  # on a machine that others keep busy

STARTS_GRAPH, NEEDS_GRAPH = "starts the graph", "needs the graph"
MARK = r"<!-- test: (?P<mark>[^\n]+) -->\n"
FENCE = re.compile(
    rf"^(?:{MARK})?(?P<indent> *)```(?P<language>\w*)\n(?P<source>.*?)^ *```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block. mark: the comment before it, or ''."""

    line: int
    language: str
    mark: str
    source: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text("utf-8")
    return [
        Block(
            line=text.count("\n", 0, match.start("source")),
            language=match["language"],
            mark=match["mark"] or "",
            source=match["source"],
        )
        for match in FENCE.finditer(text)
    ]


RUNNABLE = [block for block in blocks(README) if block.language in ("sh", "python")]


def test_every_mark_of_the_readme_is_known_and_stands_before_a_block() -> None:
    marks = [block.mark for block in RUNNABLE if block.mark]
    assert len(marks) == README.read_text("utf-8").count("<!-- test")
    known = re.compile(rf"(skip|slow), .+|{STARTS_GRAPH}|{NEEDS_GRAPH}")
    assert [mark for mark in marks if not known.fullmatch(mark)] == []


# Blocks of the README


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with links to the checkout's files, so that what a block writes stays out of the checkout."""
    directory = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (directory / path.name).symlink_to(path)
    (directory / ".venv").symlink_to(sys.prefix)
    (directory / ".curlrc").write_text("fail\n")  # a response of 4xx or 5xx fails the block
    return directory


def environment(directory: Path) -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "CURL_HOME": str(directory), "COLUMNS": "120"}


def run(block: Block, directory: Path, port: int = GRAPH_PORT) -> None:
    shell = ["bash", "-eo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    done = subprocess.run(
        [*shell, block.source.replace(f":{GRAPH_PORT}", f":{port}")],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=BLOCK_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def parameters(*kinds: str) -> list[Any]:
    """The blocks with these kinds of marks as test parameters that are skipped or slow where the mark says so."""
    chosen = []
    for block in RUNNABLE:
        kind, _, reason = block.mark.partition(", ")
        if kind in kinds:
            marks = {"skip": [pytest.mark.skip(reason=reason)], "": []}.get(kind, [pytest.mark.slow])
            chosen.append(pytest.param(block, marks=marks, id=f"README.md:{block.line}"))
    return chosen


@pytest.mark.parametrize("block", parameters("", "slow", "skip"))
def test_readme_block_runs(block: Block, checkout: Path) -> None:
    run(block, checkout)


@pytest.mark.parametrize("block", parameters(NEEDS_GRAPH))
def test_readme_block_runs_beside_the_graph(block: Block, checkout: Path, graph: int) -> None:
    run(block, checkout, graph)


@pytest.fixture(scope="module")
def graph(checkout: Path) -> Iterator[int]:
    """The port of a graph that the README's own command starts."""
    (start,) = [block for block in RUNNABLE if block.mark == STARTS_GRAPH]
    port = free_port("127.0.0.1")
    process = subprocess.Popen(
        ["bash", "-c", f"exec {start.source.strip()} --port {port}"],
        cwd=checkout,
        env=environment(checkout),
        start_new_session=True,
    )
    try:
        await_ready(process, f"http://127.0.0.1:{port}")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the graph has exited"
        try:
            if httpx.get(f"{url}/ready", timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail(f"the graph was not ready within {START_TIMEOUT_S} s")


# What the documents name


def spans(document: Path) -> list[str]:
    """The inline code of a document, each span on one line."""
    prose = FENCE.sub("", document.read_text("utf-8"))
    assert prose.count("`") % 2 == 0, f"{document}: a backtick has no partner"
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(document: Path) -> Iterator[list[str]]:
    """The words of each simple command in inline code and in blocks of shell."""
    for source in [*spans(document), *(block.source for block in blocks(document) if block.language == "sh")]:
        pending = ""
        for line in source.replace("\\\n", " ").splitlines():
            pending += line + "\n"
            lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:  # a quoted text continues in the next line
                continue
            pending = ""
            yield from split_at_operators(words)


def split_at_operators(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if not set(word) <= set("();<>|&"):
            command.append(word)
        elif command:
            yield command
            command = []


@cache
def root_command() -> Any:
    return typer.main.get_command(app)


def options(command: Any) -> set[str]:
    return {flag for parameter in command.params for flag in parameter.opts} | {"--help", "-h"}


def subcommands(command: Any) -> dict[str, Any]:
    return getattr(command, "commands", {})


def all_options(command: Any) -> set[str]:
    return options(command).union(*map(all_options, subcommands(command).values()))


def problem_of(words: list[str]) -> str | None:
    """Why `reranker WORDS` is not a command, None if it is one. Values of options are not checked."""
    command = root_command()
    for word in words:
        if word in subcommands(command):
            command = subcommands(command)[word]
            continue
        command = subcommands(command).get(DEFAULT, command)
        option = word.partition("=")[0]
        if len(option) > 1 and option.startswith("-"):
            if option not in options(command):
                return f"{command.name} has no option {option}"
        elif subcommands(command) and word != "…":
            return f"{command.name} has no command {word}"
    return None


@pytest.mark.parametrize("words", ["nothing", "bench latency", "rerank --nothing", "evaluate --nothing", "--nothing"])
def test_unknown_commands_and_options_are_found(words: str) -> None:
    assert problem_of(words.split()) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES.get)
def test_commands_and_options_in_documents_exist(document: Path) -> None:
    known_options = all_options(root_command())
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    problems = []
    for program, *words in commands(document):
        if program == "reranker":
            problems += [problem] if (problem := problem_of(words)) else []
        elif program == "make":
            problems += [f"make {word}" for word in words if "=" not in word and word not in targets]
        elif program.startswith("--"):
            problems += [word for word in [program, *words] if word[:2] == "--" and word not in known_options]
    assert problems == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES.get)
def test_paths_and_modules_in_documents_exist(document: Path) -> None:
    code = [*spans(document), *(block.source for block in blocks(document) if block.language != "mermaid")]
    assert [name for text in code for name in missing_names(text)] == []
    links = re.findall(r"\]\(([^)#]+)", document.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


PACKAGES = ("reranker", "deployments", "cluster", "tests")
PATH = re.compile(rf"(?<![\w./~-])(?:{'|'.join(PACKAGES)}|docs|requirements|\.ci)/[\w./*-]*\w")
MODULE = re.compile(rf"(?<![\w./~-])((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?::(\w+))?")
FILE = re.compile(r"[\w.-]+\.(?:py|md|yaml|toml|env)")


def missing_names(code: str) -> Iterator[str]:
    """Paths, names of files and modules of this project that a piece of code names and that do not exist."""
    yield from (path for path in PATH.findall(code) if path != "docs/s" and not any(ROOT.glob(path)))
    if FILE.fullmatch(code) and code not in file_names():
        yield code
    for module, attribute in MODULE.findall(code):
        if not FILE.fullmatch(module) and not module.endswith(".json"):
            file = module_of(module) or ""
            package = Path(file.removesuffix("/__init__.py")).with_suffix("").parts
            names = [*module.split(".")[len(package) :], attribute]
            if not file or any(name not in (ROOT / file).read_text("utf-8") for name in names):
                yield f"{module}:{attribute}"


@cache
def file_names() -> set[str]:
    rooms = [ROOT / room for room in (*PACKAGES, "docs")]
    return {path.name for path in [*ROOT.iterdir(), *(path for room in rooms for path in room.rglob("*"))]}


@pytest.mark.parametrize(
    "code",
    ["tests/cluster/test_batch_kills.py", "python -m reranker.nothing", "deployments.app:nothing", "nothing.py"],
)
def test_missing_paths_and_modules_are_found(code: str) -> None:
    assert list(missing_names(code))


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_identifiers_in_guides_to_the_code_exist(name: str) -> None:
    sources = [path.read_text("utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    known = set(re.findall(r"\w+", "\n".join(sources)))
    identifiers = [span for span in spans(ROOT / name) if re.fullmatch(r"\w+(\.\w+)*(\(\))?", span)]
    assert [span for span in identifiers if not set(re.findall(r"\w+", span)) <= known] == []
