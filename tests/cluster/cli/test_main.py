"""The command line: output, exit codes, and one line on stderr for wrong input."""

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.sample import SAMPLE
from reranker import Reranker
from tests.cluster.conftest import PASSAGES, Shell

QUERY = "when is high tide"
# A shell makes its background processes ignore SIGINT, and pytest may run as one.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import cluster.__main__"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("", ["rerank", "batch", "evaluate", "model", "bench", "--version"]),
        ("rerank", ["--query", "-q", "--top-n", "-n", "--json", "--format", "--model", "--template"]),
        ("rerank", ["--dtype", "--device"]),
        ("batch", ["--queries", "--corpus", "--run", "--output", "--work-dir", "--top-k", "--scorers", "--address"]),
        (
            "batch",
            ["--pairs", "--candidates", "--depth", "--resume", "--max-bad-rows", "--dry-run", "--price-per-hour"],
        ),
        ("plan", ["--requests-per-s", "--documents", "--tokens", "--p99-ms", "--gpu", "--price-per-hour", "--batch"]),
        ("batch", ["--model", "--template", "--max-pair-tokens", "--dtype", "--revision"]),
        ("evaluate", ["--qrels", "RUNS", "--json", "--html", "--queries", "--ties", "evaluate suite DIR"]),
        ("evaluate suite", ["DIR", "--output", "--depth", "--json", "--html", "--scorers", "--address"]),
        ("evaluate suite", ["--models", "--price-per-hour", "OUTPUT/MODEL/NAME"]),
        ("evaluate suite", ["--model", "--template", "--max-pair-tokens", "--dtype", "--device", "--revision"]),
        ("model", ["import"]),
        (
            "model import",
            ["SRC", "--output", "--template", "--max-pair-tokens", "--revision", "--forward", "--trust-remote-code"],
        ),
        ("top", ["URL", "--api-key", "--once", "--json", "--interval"]),
        ("key", ["new", "list", "revoke"]),
        ("key new", ["NAME", "--role", "--tokens-per-minute", "--file"]),
        ("serve", ["--keys-file", "--port"]),
        ("bench", ["engine", "batch", "http", "autoscale", "train"]),
        ("bench http", ["--scenario", "--url", "--peer", "--ingress", "--picture"]),
        ("cluster", ["up", "status", "down", "manifests"]),
        ("cluster up", ["--gpus", "--port"]),
        ("cluster manifests", ["--image", "--gpu", "--config", "--gateway-class", "--batch", "--schedule"]),
        ("cluster manifests", ["--weights-source", "--weights-image", "--batch-gpus", "--batch-output"]),
        ("train", ["data", "teacher", "run", "average", "demo"]),
        ("train data", ["OUTPUT", "--pairs", "--max-per-file", "--queries", "--corpus", "--qrels", "--run"]),
        ("train data", ["--negatives-depth", "--random-negatives", "--seed", "--licence"]),
        ("train teacher", ["DATA", "--name", "--bi-encoder", "--model", "--template", "--device"]),
        ("train run", ["CONFIG.yaml", "--resume", "--set"]),
        ("train demo", ["--output", "--steps"]),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_commands_and_options(shell: Shell, command: str, named: list[str], flag: str) -> None:
    code, out, err = shell(*command.split(), flag)
    assert (code, err) == (0, "")
    assert [name for name in named if name not in out] == []


def test_no_command_prints_help(shell: Shell) -> None:
    code, out, err = shell()
    assert code == 2
    assert "Usage: " in out + err
    assert "Traceback" not in out + err


def test_version_is_one_line(shell: Shell) -> None:
    code, out, _ = shell("--version")
    assert code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", out)


def test_rerank_prints_a_table_best_first(shell: Shell) -> None:
    code, out, err = shell("rerank", "-q", QUERY, "passages.txt")
    assert (code, err) == (0, "")
    assert QUERY in out
    rows = [line for line in out.splitlines() if "passages.txt:" in line]
    assert [int(row.split()[1]) for row in rows] == [1, 2, 3]
    assert "passages.txt:3" in rows[0]
    assert any("[bold]Low[/bold] tide" in row for row in rows), "markup is text"


def test_rerank_json_equals_the_library_s_ranking(shell: Shell) -> None:
    (shell.directory / "more.jsonl").write_text('{"_id": 7, "title": "Tides", "text": "A caf\\u00e9 \\ud83d"}\n')
    pq.write_table(pa.table({"id": ["p"], "text": ["The sea."]}), shell.directory / "more.parquet")
    files = ["passages.txt", "more.jsonl", "more.parquet"]
    code, out, err = shell("rerank", "--query", QUERY, *files, "--json", "--dtype", "float32")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["query"] == QUERY
    assert answer["model"] == "embedded"
    documents = [*PASSAGES, {"title": "Tides", "text": "A café \ufffd"}, "The sea."]
    ids = ["passages.txt:2", "passages.txt:3", "passages.txt:4", "7", "p"]
    hits = Reranker(dtype="float32").rank(QUERY, documents)
    assert [hit["index"] for hit in answer["results"]] == [hit.index for hit in hits]
    assert [hit["logit"] for hit in answer["results"]] == pytest.approx([hit.logit for hit in hits])
    assert [hit["id"] for hit in answer["results"]] == [ids[hit.index] for hit in hits]
    assert {hit["id"]: hit["title"] for hit in answer["results"]}["7"] == "Tides"


def test_rerank_reads_a_pipe_and_prints_top_n(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "rerank", "-q", QUERY, "-n", "2", "--json", "-"],
        input=b"\xef\xbb\xbf" + "\r\n".join(reversed(PASSAGES)).encode(),
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    results = json.loads(done.stdout)["results"]
    assert len(results) == 2
    assert results[0]["id"] == "stdin:2"
    assert results[0]["logit"] >= results[1]["logit"]
    assert [hit["text"] for hit in results] == PASSAGES[1:]


def test_output_replaces_characters_the_terminal_cannot_encode(shell: Shell) -> None:
    (shell.directory / "läufe.trec").write_bytes((SAMPLE / "run.trec").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "evaluate", "--qrels", SAMPLE / "qrels.tsv", "läufe.trec"],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"l?ufe.trec" in done.stdout


@pytest.mark.parametrize(
    ("options", "returncode", "shown"),
    [
        ("", 2, "stdin:1: looks like jsonl: say --format jsonl, or --format text to rank its lines as they are"),
        ("--format jsonl", 0, '"text": "High tide is at noon."'),
    ],
)
def test_rerank_does_not_score_the_json_of_a_pipe(options: str, returncode: int, shown: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "rerank", "-q", QUERY, "--json", *options.split()],
        input='{"_id": 7, "text": "High tide is at noon."}\n',
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == returncode
    assert shown in done.stdout + done.stderr


WRONG = [
    ("rerank -q x nothing.txt", "nothing.txt: no such file"),
    ("rerank -q x .", ".: cannot be read: Is a directory"),
    ("rerank -q x bad.jsonl", "bad.jsonl:2: is not JSON"),
    ("rerank -q x latin.txt", "latin.txt:1: is not UTF-8"),
    ("rerank -q x blank.txt", "FILES: no passages in them"),
    ("rerank -q x table", "table:1: looks like jsonl: say --format jsonl"),
    ("rerank -q x three.tsv", "three.tsv:1: has 3 columns and no header that says which is which"),
    ("rerank -q '' passages.txt", "--query: is empty"),
    ("rerank -q x -m ./nowhere passages.txt", "./nowhere is not a directory on this machine"),
    ("rerank -q x -m '' passages.txt", "--model: String should have at least 1 character, got ''"),
    (
        "rerank -q x --template other passages.txt",
        "--template: Input should be 'auto', 'dear' or 'bare', got 'other'",
    ),
    ("rerank -q x --dtype int8 passages.txt", "--dtype: Input should be 'auto', 'float32'"),
    ("rerank -q x --device tpu passages.txt", "--device: String should match pattern"),
    ("rerank -q x --max-pair-tokens 0 passages.txt", "--max-pair-tokens: Input should be greater than 0, got 0"),
    ("rerank -q x --max-pair-tokens 9999 passages.txt", "max_pair_tokens 9999 exceeds the 512 that embedded reads"),
    ("evaluate --qrels nothing.tsv SAMPLE/run.trec", "nothing.tsv: no such file"),
    (
        "evaluate --qrels SAMPLE/run.trec SAMPLE/run.trec",
        "SAMPLE/run.trec:1: has 6 columns, expected `query-id corpus-id score`",
    ),
    ("evaluate --qrels SAMPLE/qrels.tsv other.trec", "other.trec: has none of the 21 queries that SAMPLE/qrels.tsv"),
    (
        "evaluate --qrels SAMPLE/qrels.tsv unjudged.trec",
        "unjudged.trec: has none of the passages that ",
    ),
    ("evaluate --qrels swapped.tsv swapped.trec", "swapped.tsv:1: has 'd1' where `qid 0 docid grade` has 0 or Q0"),
    ("evaluate --qrels zero.tsv swapped.trec", "zero.tsv: has no grade above 0, so all measures would be 0"),
    ("evaluate --qrels spaced.tsv swapped.trec", "spaced.tsv:2: `docid` 'd 1' contains spaces"),
    (
        "batch QUERIES --corpus three.tsv --output out",
        "three.tsv:1: has 3 ",
    ),
    (
        "batch QUERIES --corpus table --output out",
        "table: has no ending ",
    ),
    ("batch INPUT --run nothing.trec --output out", "nothing.trec: no such file"),
    ("key new 'a b'", "name: 'a b' is not allowed. Who uses it: 1 to 64 letters, digits or ._@-"),
    ("key new a --role root", "role: 'root' is not allowed. 'score' (rank"),
    ("key new a --tokens-per-minute 0", "tokens-per-minute: 0 is not allowed. Max tokens"),
    (
        "key new a --file blank.txt",
        "blank.txt: has mode 06",
    ),
    ("key list", "keys.json: cannot be read: No such file or directory"),
    ("key revoke a", "keys.json: cannot be read: No such file or directory"),
    ("serve --keys-file nothing.json", "nothing.json: cannot be read: No such file or directory"),
    ("batch INPUT --run SAMPLE/run.trec --output .", ". is not empty and holds no job"),
    ("batch INPUT --run SAMPLE/run.trec --output blank.txt", "blank.txt: is not a directory"),
    ("batch INPUT --run SAMPLE/run.trec --output blank.txt/out", "blank.txt/out: cannot be created: Not a directory"),
    ("batch INPUT --run SAMPLE/run.trec --output out --top-k 0", "--top-k: Input should be greater than 0, got 0"),
    ("batch INPUT --run SAMPLE/run.trec --output out -m ./nowhere", "./nowhere is not a directory"),
    ("plan", "--requests-per-s: is needed, or --batch with --pairs for a job"),
    ("plan --requests-per-s 0", "--requests-per-s: Input should be greater than or equal to 0.000001, got 0.0"),
    ("plan --requests-per-s inf", "--requests-per-s: Input should be less than or equal to 1000000000000"),
    ("plan --requests-per-s 1 --tokens 0", "--tokens: Input should be greater than 0, got 0"),
    ("plan --requests-per-s 1 --documents 10001", "--documents: 10001 is above the 10000 that a request may have"),
    ("plan --requests-per-s 1 --query-tokens 228", "--query-tokens: 228 leaves no room for a document"),
    ("plan --requests-per-s 1 --gpu tpu", "--gpu: Input should be 'all', 'l4', 'a10g', '4090'"),
    (
        "plan --requests-per-s 1 --gpu l4 --p99-ms 100",
        "--p99-ms: 100 ms is below the 1,966 ms that one request alone",
    ),
    ("plan --requests-per-s nan", "--requests-per-s: Input should be "),
    (
        "plan --requests-per-s 1 --p99-ms 15",
        "--p99-ms: 15 ms is below the 120 ms that one request alone takes on b200",
    ),
    (
        "plan --requests-per-s 1 --gpu l4 --p99-ms 1966",
        "--p99-ms: is so short that it needs more than 10,000 replicas on l4",
    ),
    ("plan --requests-per-s 1e9 --gpu l4", "--requests-per-s: needs more than 10,000 replicas on l4"),
    ("plan --requests-per-s 1 --gpu l4 --model rankllama-13b", "rankllama-13b does not fit one L4: the model needs"),
    ("plan --requests-per-s 1 --model org/unknown", "--model: 'org/unknown' is no directory, and its sizes are not"),
    ("plan --requests-per-s 1 --gpu cpu", "--tokens-per-s: is needed with --gpu cpu"),
    ("plan --requests-per-s 1 --tokens-per-s 9", "--tokens-per-s: is of one device: name it with --gpu"),
    ("plan --requests-per-s 1 --pairs 9", "--pairs: is of a job: add --batch, or leave it out"),
    ("plan --batch", "--pairs: is needed with --batch"),
    ("plan --batch --pairs 9 --p99-ms 9", "--p99-ms: is not of a job: leave it out, or leave --batch out"),
    ("cluster manifests --image reranker:latest", "image: 'reranker:latest' names no fixed version"),
    ("cluster manifests --image reranker:1 --gpu t4", "gpu: 't4' is not known: use one of l4, a10g, a100, h100"),
    ("evaluate suite SAMPLE --output s3://b/o", "--output: 's3://b/o' is a URL, and a suite writes into a directory"),
    ("cluster manifests --image reranker:1 --batch-output s3://b/o", "batch-output: is of a batch job: give --batch"),
    ("batch INPUT --run SAMPLE/run.trec --output gs://b/o", "output: 'gs://b/o' cannot be written: use a directory"),
    ("cluster manifests --image reranker:1 --schedule @daily", "schedule: is of a batch job: give --batch, too"),
    ("batch INPUT --run other.trec --output out", "other.trec: names 1 queries and 1 passages that are in no file"),
]


@pytest.mark.parametrize(("command", "complaint"), WRONG)
def test_wrong_input_prints_one_line_and_exits_2(shell: Shell, command: str, complaint: str) -> None:
    (shell.directory / "bad.jsonl").write_text('{"text": "a"}\n{"text": }\n')
    (shell.directory / "latin.txt").write_bytes("café".encode("latin-1"))
    (shell.directory / "blank.txt").write_text(" \n\n")
    (shell.directory / "table").write_text('{"_id": "0-0", "text": "a"}\n')
    (shell.directory / "three.tsv").write_text("0-0\tA text\tA title\n")
    (shell.directory / "unjudged.trec").write_text("0 Q0 D0-0 1 1.0 t\n")
    (shell.directory / "swapped.trec").write_text("q1 Q0 d1 1 1.0 t\n")
    (shell.directory / "swapped.tsv").write_text("q1\td1\t1\t0\n")
    (shell.directory / "zero.tsv").write_text("q1\td1\t0\n")
    (shell.directory / "spaced.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td 1\t1\n")
    (shell.directory / "other.trec").write_text("unknown Q0 nowhere 1 1.0 t\n")
    inputs = f"--queries {SAMPLE}/queries.jsonl --corpus {SAMPLE}/corpus.jsonl"
    command = command.replace("QUERIES", f"--queries {SAMPLE}/queries.jsonl --run {SAMPLE}/run.trec")
    args = shlex.split(command.replace("INPUT", inputs).replace("SAMPLE", str(SAMPLE)))

    code, out, err = shell(*args)
    assert (code, out) == (2, "")
    assert err.startswith(f"reranker: {complaint.replace('SAMPLE', str(SAMPLE))}")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert not (shell.directory / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        "nothing",
        "rerank",
        "rerank -q x -n 0 passages.txt",
        "rerank -q x -n two passages.txt",
        "rerank -q x --no-such-option",
        "evaluate --qrels qrels.tsv",
        "evaluate run.trec",
        "evaluate",
        "evaluate suite",
        "evaluate suite DIR",
        "batch --queries q --corpus c --run r",
        "model import",
    ],
)
def test_wrong_usage_prints_usage_and_exits_2(shell: Shell, command: str) -> None:
    code, out, err = shell(*command.split())
    assert (code, out) == (2, "")
    assert "Usage: " in err
    assert "Traceback" not in err


def test_batch_reports_an_unreachable_cluster_at_once(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so that connections are refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        inputs = ["--queries", SAMPLE / "queries.jsonl", "--corpus", SAMPLE / "corpus.jsonl"]
        code, out, err = shell(
            "batch", *inputs, "--run", SAMPLE / "run.trec", "--output", "out", "--address", address
        )
    assert (code, out) == (1, "")
    assert err.startswith(f"reranker: no Ray cluster answers at --address {address}: ")
    assert err.count("\n") == 1
    assert not (shell.directory / "out").exists(), "no output directory is left"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "evaluate --qrels qrels.tsv run.trec", "rerank --help"])
def test_closed_stdout_is_not_an_error(command: str, unbuffered: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=SAMPLE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


def test_interrupt_exits_130_without_output() -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "rerank", "-q", "x"], stdin=theirs, stderr=subprocess.PIPE
    )
    assert process.stderr.readline().startswith(b"reading passages from the terminal")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    for end in (terminal, theirs):
        os.close(end)
    assert (process.returncode, err) == (130, b"")
