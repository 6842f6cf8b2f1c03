"""The engine benchmark through its real processes, on a tiny random checkpoint, and what it asks the contenders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.bench.engine.contender import PEERS, RERANKER, Contender, ContenderDied, ContenderProcess
from cluster.bench.engine.rounds import run_rounds
from cluster.bench.workload import (
    PASSAGE_TOKENS,
    QUERY_TOKENS,
    Histogram,
    Request,
    collection_requests,
    plain_tokenizer,
    sample_requests,
)
from cluster.cli.bench import peers_named
from cluster.cli.main import main
from reranker.checkpoints.synth import SynthShape, synthesize
from reranker.errors import InvalidField, InvalidFile
from reranker.prompt import DEAR
from reranker.types import Passage

TINY = SynthShape(2, 64, 4, 2, 16, 128, 2000, 1024, 10_000.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bench") / "tiny"
    texts = [passage.text for request in sample_requests(2, 50, 0) for passage in request.passages]
    synthesize(TINY, output, texts)
    return output


@pytest.fixture(scope="module")
def result(tiny: Path) -> dict[str, object]:
    """One run of the command, with a peer that is there and one that is not."""
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


def test_a_contender_that_computes_the_same_is_seen_to(result: dict) -> None:  # type: ignore[type-arg]
    _, loop = result["contenders"]
    assert loop["max_difference"] < 1e-3
    assert loop["kendall_tau"] > 0.99


def test_the_figures_say_what_they_were_measured_on(result: dict) -> None:  # type: ignore[type-arg]
    assert result["model"]["dtype"] == "float32"
    assert result["machine"]["threads"] == 1
    assert result["machine"]["cpu"]
    assert result["workload"]["documents_per_query"] == 5
    assert result["pairs"]["documents"] == 10


def test_a_peer_that_is_not_installed_is_named_with_its_command(result: dict) -> None:  # type: ignore[type-arg]
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
def test_wrong_input_ends_in_one_line_and_exit_code_2(
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


def test_a_contender_that_dies_is_reported_with_its_last_words_and_the_others_go_on(tmp_path: Path) -> None:
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
    broken, flaky, sound = run_rounds(
        contenders, {"threads": 1}, requests, DEAR, warm_up=1, seed=0, progress=lambda _: None
    )
    assert broken.died is not None
    assert "no such model" in broken.died
    assert flaky.died is not None
    assert "division by zero" in flaky.died
    assert "exit code 1" in flaky.died
    assert sound.died is None
    assert [answer["scores"] for answer in sound.answers] == [[1.0]]
    assert sound.facts["notes"] == ["fine"]


def test_nothing_that_a_contender_started_outlives_it(tmp_path: Path) -> None:
    code = "import subprocess\nPACKAGES = ()\ndef load(settings):\n    child = subprocess.Popen(['sleep', '600'])\n"
    (tmp_path / "parent.py").write_text(code + "    return (lambda request: {'child': child.pid}), []\n")
    with ContenderProcess(
        Contender("parent", tmp_path / "parent.py"), Path(sys.executable), {"threads": 1}
    ) as process:
        child = process.ask({})["child"]
        assert Path(f"/proc/{child}").exists()
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_a_dead_contender_does_not_hang_who_asks(tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("import os\nPACKAGES = ()\ndef load(settings):\n    os._exit(7)\n")
    with pytest.raises(ContenderDied, match="exit code 7"):
        ContenderProcess(Contender("gone", tmp_path / "gone.py"), Path(sys.executable), {"threads": 1})


def test_peers_are_looked_for_here_and_where_the_environment_says(
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


def test_peers_are_named_once_each_and_none_are_allowed() -> None:
    assert [peer.name for peer in peers_named("vllm, loop,vllm")] == ["vllm", "loop"]
    assert peers_named("") == []
    with pytest.raises(InvalidField):
        peers_named("Loop")


def test_every_round_has_texts_that_no_round_had() -> None:
    requests = sample_requests(9, 100, seed=3)
    passages = [passage.text for request in requests for passage in request.passages]
    assert len(passages) == 900
    beginnings = {tuple(text.split()[:12]) for text in passages}
    assert len(beginnings) == 900, "two passages that begin alike could share a cached prefix"
    queries = {request.query for request in requests}
    assert len(queries) == 9


def test_the_same_seed_gives_the_same_texts() -> None:
    assert sample_requests(2, 10, seed=5) == sample_requests(2, 10, seed=5)
    assert sample_requests(2, 10, seed=5) != sample_requests(2, 10, seed=6)


@pytest.mark.parametrize("histogram", [PASSAGE_TOKENS, QUERY_TOKENS])
def test_drawn_lengths_follow_the_histogram_even_in_one_round(histogram: Histogram) -> None:
    lengths = histogram.lengths(100, np.random.default_rng(0))
    edges = histogram.start + histogram.width * np.arange(len(histogram.counts) + 1)
    drawn = np.cumsum(np.histogram(lengths, edges)[0]) / 100
    wanted = np.cumsum(histogram.counts) / sum(histogram.counts)
    assert np.abs(drawn - wanted).max() < 0.02


def test_texts_are_as_long_as_web_passages_and_their_queries() -> None:
    tokenizer = plain_tokenizer()

    def tokens(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    requests = sample_requests(10, 50, seed=0)
    lengths = [tokens(passage.text) for request in requests for passage in request.passages]
    assert np.mean(lengths) == pytest.approx(85.2, rel=0.04)
    assert np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95]) == pytest.approx([42, 59, 75, 108, 151], rel=0.07)
    assert np.mean([tokens(request.query) for request in requests]) == pytest.approx(7.0, abs=1.0)


def test_a_collection_gives_each_round_a_query_of_its_own(tmp_path: Path) -> None:
    write_collection(tmp_path, queries=4, candidates=3)
    requests = collection_requests(tmp_path, 3, 2, seed=0)
    assert len({request.query for request in requests}) == 3
    for request in requests:
        number = request.query.removeprefix("query ")
        assert [passage.text for passage in request.passages] == [f"passage {number}-0", f"passage {number}-1"]


def test_a_collection_that_does_not_suffice_is_refused(tmp_path: Path) -> None:
    write_collection(tmp_path, queries=2, candidates=2)
    with pytest.raises(InvalidField, match="has 2 queries with candidates, 3 are needed"):
        collection_requests(tmp_path, 3, 2, seed=0)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "other", "text": "a passage"}\n')
    with pytest.raises(InvalidField, match="'0-0' of its run is not in its corpus"):
        collection_requests(tmp_path, 2, 2, seed=0)
    (tmp_path / "run.trec").unlink()
    with pytest.raises(InvalidFile, match="no such file"):
        collection_requests(tmp_path, 2, 2, seed=0)


def write_collection(directory: Path, *, queries: int, candidates: int) -> None:
    ids = [(number, f"{number}-{rank}") for number in range(queries) for rank in range(candidates)]
    rows = {
        "queries.jsonl": [json.dumps({"_id": str(number), "text": f"query {number}"}) for number in range(queries)],
        "corpus.jsonl": [json.dumps({"_id": docid, "text": f"passage {docid}"}) for _, docid in ids],
        "run.trec": [f"{number} Q0 {docid} 1 {-rank} bm25" for rank, (number, docid) in enumerate(ids)],
    }
    for name, lines in rows.items():
        (directory / name).write_text("\n".join(lines) + "\n")
