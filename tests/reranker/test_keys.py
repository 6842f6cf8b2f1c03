"""The file of keys: what it must be, and who may read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from reranker.errors import InvalidFile
from reranker.keys import PREFIX, hash_of, new_secret, read_keys, version_of

CREATED = "2026-01-01T00:00:00Z"


def entry(name: str, secret: str = "", **fields: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hash_of(secret or name), "created": CREATED, **fields}


def write(path: Path, content: object, mode: int = 0o600) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_key_has_256_random_bits_and_a_prefix() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith(PREFIX) and len(secret) == len(PREFIX) + 43 for secret in secrets)


def test_only_keys_that_are_not_revoked_are_accepted(tmp_path: Path) -> None:
    entries = [entry("a", "old", revoked=CREATED), entry("a", "new", role="admin"), entry("b", tokens_per_minute=5)]
    keys = read_keys(write(tmp_path / "keys.json", {"keys": entries})).by_hash
    assert set(keys) == {hash_of("new"), hash_of("b")}
    assert (keys[hash_of("new")].role, keys[hash_of("b")].tokens_per_minute) == ("admin", 5)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o666, 0o777])
def test_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InvalidFile, match=f"has mode {mode:04o}, so others may read or change it: run `chmod 600`"):
        read_keys(write(tmp_path / "keys.json", {"keys": []}, mode))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_file_of_its_owner_or_of_a_mounted_secret_is_read(tmp_path: Path, mode: int) -> None:
    assert read_keys(write(tmp_path / "keys.json", {"keys": []}, mode)).keys == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is not a list of keys: file: Invalid JSON"),
        ('{"keys": [', "is not a list of keys: file: Invalid JSON"),
        ([], "is not a list of keys: file: "),
        ({"kyes": []}, "kyes: Extra inputs"),
        ({"keys": [entry("a") | {"sha256": "short"}]}, "keys.0.sha256: "),
        ({"keys": [entry("a b")]}, "keys.0.name: "),
        ({"keys": [entry("a", role="root")]}, "keys.0.role: "),
        ({"keys": [entry("a", tokens_per_minute=0)]}, "keys.0.tokens_per_minute: "),
        ({"keys": [entry("a", created="yesterday")]}, "keys.0.created: "),
        ({"keys": [entry("a", "1"), entry("a", "2")]}, "two keys have the name 'a'"),
        ({"keys": [entry("a", "1"), entry("b", "1")]}, "two keys have the hash "),
    ],
)
def test_broken_file_is_named_in_one_line_without_its_content(tmp_path: Path, content: object, problem: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        read_keys(write(tmp_path / "keys.json", content))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_file_and_directory_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(InvalidFile, match="cannot be read: "):
            read_keys(path)
    assert version_of(tmp_path / "nothing.json") is None
