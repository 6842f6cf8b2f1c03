"""The engine benchmark with real processes on a tiny random checkpoint, and contenders that die."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.bench.engine.contender import PEERS, RERANKER, Contender, ContenderDied, ContenderProcess
from cluster.bench.engine.rounds import run_rounds
from cluster.bench.workload import Request, sample_requests
from cluster.cli.bench import peers_named
from cluster.cli.main import main
from reranker.checkpoints.synth import synthesize
from reranker.checkpoints.synth_shapes import llama_shape
from reranker.errors import InvalidField
from reranker.types import Passage

TINY = llama_shape(2, 64, 4, 2, 16, 128, 2000, 1024, 10_000.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bench") / "tiny"
    texts = [passage.text for request in sample_requests(2, 50, 0) for passage in request.passages]
    synthesize(TINY, output, texts)
    return output


@pytest.fixture(scope="module")
def result(tiny: Path) -> dict[str, object]:
    """One run of the command, with one peer that is installed and one that is not."""
    done = command(
        *("--model", str(tiny), "--peers", "loop,crossencoder", "--documents", "5", "--rounds", "2"),
        *("--threads", "1", "--dtype", "float32", "--json", "-"),
        cwd=tiny.parent,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RERANKER_PEERS"}
    return subprocess.run(
        [str(Path(sys.executable).with_name("reranker")), "bench", "engine", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_every_contender_is_measured_and_compared_with_ours(result: dict) -> None:  # type: ignore[type-arg]
    ours, loop = result["contenders"]
    assert [ours["name"], loop["name"]] == ["reranker", "loop"]
    for row in (ours, loop):
        assert len(row["seconds"]) == 2
        assert row["docs_per_s"] > 0
        assert row["tokens_per_s"] > row["docs_per_s"]
        assert row["peak_memory_bytes"] > 50e6
        assert row["roofline_share"] > 0
        assert row["load_s"] > 0
        assert "torch" in row["versions"]
    assert 0 < ours["tokenizing_share"] < 1
    assert result["ratios"] == {"loop": loop["reranker_ratio"]}
    assert result["roofline_share"] == ours["roofline_share"]
    assert result["failed"] == []


def test_agreement_of_equal_models_is_nearly_perfect(result: dict) -> None:  # type: ignore[type-arg]
    _, loop = result["contenders"]
    assert loop["max_difference"] < 1e-3
    assert loop["kendall_tau"] > 0.99


def test_figures_name_model_machine_and_workload(result: dict) -> None:  # type: ignore[type-arg]
    assert result["model"]["dtype"] == "float32"
    assert result["machine"]["threads"] == 1
    assert result["machine"]["cpu"]
    assert result["workload"]["documents_per_query"] == 5
    assert result["pairs"]["documents"] == 10


def test_missing_peer_is_reported_with_its_install_command(result: dict) -> None:  # type: ignore[type-arg]
    (skipped,) = result["skipped"]
    assert skipped["name"] == "crossencoder"
    assert skipped["install"].startswith(
        "python3 -m venv .peers/crossencoder && .peers/crossencoder/bin/pip install "
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--peers", "loop,tei"), "'tei' is not known: use any of loop,crossencoder,infinity,vllm"),
        (("--model", "./nowhere"), "./nowhere is not a directory"),
        (("--model", "embedded", "--collection", "nowhere"), "queries.jsonl: no such file"),
        (("--model", "embedded", "--dtype", "int3"), "--dtype"),
        (("--model", "embedded", "--rounds", "100000"), "--rounds: the bundled texts are used up"),
    ],
)
def test_invalid_input_prints_one_line_and_exits_with_2(
    arguments: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reranker", "bench", "engine", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert complaint in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_dying_contender_is_reported_with_its_stderr_and_the_others_continue(tmp_path: Path) -> None:
    def driver(name: str, code: str) -> tuple[Contender, Path]:
        path = tmp_path / f"{name}.py"
        path.write_text(f"PACKAGES = ()\ndef load(settings):\n{code}\n")
        return Contender(name, path), Path(sys.executable)

    contenders = [
        driver("broken", "    raise RuntimeError('no such model')"),
        driver("flaky", "    print('chatter')\n    return (lambda request: 1 / 0), []"),
        driver("sound", "    return (lambda request: {'scores': [1.0] * len(request['documents'])}), ['fine']"),
    ]
    requests = [Request("q", (Passage("a"), Passage("b"))), Request("r", (Passage("c"),))]

    def message(_: Contender, request: Request) -> dict[str, object]:
        return {"documents": request.passages}

    broken, flaky, sound = run_rounds(
        contenders, {"threads": 1}, requests, message, warm_up=1, seed=0, progress=lambda _: None
    )
    assert broken.died is not None
    assert "no such model" in broken.died
    assert flaky.died is not None
    assert "division by zero" in flaky.died
    assert "exit code 1" in flaky.died
    assert sound.died is None
    assert [answer["scores"] for answer in sound.answers] == [[1.0]]
    assert sound.facts["notes"] == ["fine"]


def test_processes_started_by_a_contender_are_killed_with_it(tmp_path: Path) -> None:
    code = "import subprocess\nPACKAGES = ()\ndef load(settings):\n    child = subprocess.Popen(['sleep', '600'])\n"
    (tmp_path / "parent.py").write_text(code + "    return (lambda request: {'child': child.pid}), []\n")
    with ContenderProcess(
        Contender("parent", tmp_path / "parent.py"), Path(sys.executable), {"threads": 1}
    ) as process:
        child = process.ask({})["child"]
        assert Path(f"/proc/{child}").exists()
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_contender_that_exits_while_loading_raises(tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("import os\nPACKAGES = ()\ndef load(settings):\n    os._exit(7)\n")
    with pytest.raises(ContenderDied, match="exit code 7"):
        ContenderProcess(Contender("gone", tmp_path / "gone.py"), Path(sys.executable), {"threads": 1})


def test_peers_are_found_in_the_working_directory_or_reranker_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RERANKER_PEERS", raising=False)
    vllm = PEERS["vllm"]
    assert vllm.interpreter() is None
    here, there = (home / "vllm" / "bin" / "python" for home in (tmp_path / ".peers", tmp_path / "elsewhere"))
    for python in (here, there):
        python.parent.mkdir(parents=True)
        python.touch()
    assert vllm.interpreter() == here
    monkeypatch.setenv("RERANKER_PEERS", str(tmp_path / "elsewhere"))
    assert vllm.interpreter() == there
    assert RERANKER.interpreter() == PEERS["loop"].interpreter() == Path(sys.executable)


def test_peer_names_are_deduplicated_and_may_be_empty() -> None:
    assert [peer.name for peer in peers_named("vllm, loop,vllm")] == ["vllm", "loop"]
    assert peers_named("") == []
    with pytest.raises(InvalidField):
        peers_named("Loop")
