"""A job is resumed only with the identity it was begun with; a refusal names every difference."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.batch.identity import Identity, identity_of, refuse_different_job
from reranker.checkpoints.files import CheckpointFiles, locate
from reranker.checkpoints.fingerprint import checkpoint_sha256
from reranker.errors import InvalidFile, JobRefused
from reranker.ir.locations import content_sha256
from reranker.settings import CheckpointSettings
from reranker.version import __version__
from tests.cluster.batch.collections import pair_rows, settings_of, write_files, write_rows

BEGUN: Identity = {
    "version": "0.1.0",
    "inputs": {"queries": "11", "corpus": "22", "run": "33"},
    "model": "embedded",
    "revision": None,
    "checkpoint": "44",
    "depth": None,
    "top_k": 10,
    "engine": {"threads": 1, "deterministic": False},
}


def identity(directory: Path, files: CheckpointFiles | None = None, **options: object) -> Identity:
    return identity_of(settings_of(directory, **options), files or locate(CheckpointSettings(), weights=True))


def refusal(begun: Identity, now: Identity) -> str:
    """The differences that the refusal names."""
    with pytest.raises(JobRefused) as caught:
        refuse_different_job(begun, now, "out")
    message = str(caught.value)
    assert "\n" not in message
    start, end = "out: its job was begun with ", ". Results of different jobs must not be mixed: resume it with"
    assert message.startswith(start)
    return message.removeprefix(start).partition(end)[0]


def test_equal_identity_may_resume() -> None:
    refuse_different_job(BEGUN, json.loads(json.dumps(BEGUN)), "out")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"top_k": 5}, "top_k 10 (now 5)"),
        ({"top_k": None}, "top_k 10 (now None)"),
        ({"depth": 7}, "depth None (now 7)"),
        ({"version": "0.2.0"}, "version 0.1.0 (now 0.2.0)"),
        ({"revision": "main"}, "revision None (now main)"),
        ({"checkpoint": "55"}, "different weights, tokenizer or config"),
        ({"engine": {"threads": 2, "deterministic": False}}, "engine.threads 1 (now 2)"),
        ({"engine": {"threads": 1}}, "engine.deterministic False (now None)"),
        ({"inputs": BEGUN["inputs"] | {"corpus": "23"}}, "a different corpus file"),
        (
            {"inputs": {"pairs": "11"}},
            "a different corpus file; a different pairs file; a different queries file; a different run file",
        ),
        ({"model": "other", "depth": 1}, "depth None (now 1); model embedded (now other)"),
        ({"of a later version": True}, "of a later version None (now True)"),
    ],
)
def test_refusal_names_every_difference(change: dict[str, Any], named: str) -> None:
    assert refusal(BEGUN, BEGUN | change) == named


def test_unknown_checkpoint_is_not_a_difference() -> None:
    unknown = BEGUN | {"checkpoint": None}
    for begun, now in ((BEGUN, unknown), (unknown, BEGUN), (unknown, unknown)):
        refuse_different_job(begun, now, "out")
    assert refusal(unknown, BEGUN | {"top_k": 5}) == "top_k 10 (now 5)"
    assert refusal(BEGUN | {"model": None}, BEGUN) == "model None (now embedded)", "None equals any checkpoint only"


def test_identity_holds_everything_a_result_depends_on(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    whole = identity(tmp_path, **files, depth=9)
    assert whole["version"] == __version__
    assert whole["inputs"] == {role: content_sha256(path) for role, path in files.items()}
    assert whole["checkpoint"] == checkpoint_sha256(locate(CheckpointSettings(), weights=True)) is not None
    assert (whole["model"], whole["depth"], whole["dtype"]) == ("embedded", 9, "auto")
    assert json.loads(json.dumps(whole)) == whole


def test_identity_ignores_paths_and_execution_settings(tmp_path: Path) -> None:
    begun = identity(tmp_path, **write_files(tmp_path / "before"))
    moved = {role: str(path) for role, path in write_files(tmp_path / "after").items()}
    now = identity(
        tmp_path / "elsewhere", **moved, resume=True, address="auto", scorers=3, encoders=1, max_bad_rows=9
    )
    assert now == begun


@pytest.mark.parametrize("role", ["queries", "corpus", "run"])
def test_refusal_names_a_changed_input_by_role(role: str, tmp_path: Path) -> None:
    files = write_files(tmp_path)
    begun = identity(tmp_path, **files)
    files[role].write_bytes(files[role].read_bytes() + b" ")
    assert refusal(begun, identity(tmp_path, **files)) == f"a different {role} file"


def test_identity_differs_between_forms_of_the_same_data(tmp_path: Path) -> None:
    pairs = write_rows(tmp_path / "pairs.jsonl", pair_rows())
    named = refusal(identity(tmp_path, **write_files(tmp_path)), identity(tmp_path, pairs=pairs))
    assert named == "a different corpus file; a different pairs file; a different queries file; a different run file"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"depth": 3}, "depth None (now 3)"),
        ({"top_k": 3}, "top_k None (now 3)"),
        ({"unit_pairs": 3}, "unit_pairs 2000 (now 3)"),
        ({"checkpoint": {"template": "dear"}}, "template auto (now dear)"),
        ({"checkpoint": {"max_pair_tokens": 99}}, "max_pair_tokens None (now 99)"),
        ({"checkpoint": {"dtype": "bfloat16"}}, "dtype auto (now bfloat16)"),
        ({"checkpoint": {"revision": "main"}}, "revision None (now main)"),
        ({"engine": {"deterministic": True}}, "engine.deterministic False (now True)"),
        ({"engine": {"max_batch_tokens": 512}}, "engine.max_batch_tokens None (now 512)"),
    ],
)
def test_identity_differs_for_settings_that_change_the_result(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    files = write_files(tmp_path)
    assert refusal(identity(tmp_path, **files), identity(tmp_path, **files, **options)) == named


def test_identity_depends_on_weights_but_not_on_their_directory(bert: Path, llama: Path, tmp_path: Path) -> None:
    inputs = write_files(tmp_path)
    begun = identity(tmp_path, CheckpointFiles("mine", bert, None, None), **inputs)
    copy = Path(shutil.copytree(bert, tmp_path / "copy"))
    refuse_different_job(begun, identity(tmp_path, CheckpointFiles("mine", copy, None, None), **inputs), "out")
    other = identity(tmp_path, CheckpointFiles("mine", llama, None, None), **inputs)
    assert refusal(begun, other) == "different weights, tokenizer or config"
    (copy / "model.safetensors").unlink()
    refuse_different_job(begun, identity(tmp_path, CheckpointFiles("mine", copy, None, None), **inputs), "out")


def test_identity_of_a_missing_input_raises_invalid_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"none\.jsonl: no such file"):
        identity(tmp_path, pairs=tmp_path / "none.jsonl")
