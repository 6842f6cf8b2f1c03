"""`reranker key`: a key is printed once, hashed in a private file, and revoked by its name."""

import subprocess
import sys

from reranker.keys import hash_of, read_keys
from tests.cluster.conftest import Shell


def test_key_is_printed_once_hashed_listed_and_revoked(shell: Shell) -> None:
    path = shell.directory / "keys.json"
    code, secret, err = shell("key", "new", "app", "--tokens-per-minute", "500")
    assert (code, secret.count("\n")) == (0, 1)
    assert secret.strip() not in err + path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    (key,) = read_keys(path).keys
    assert (key.name, key.role, key.tokens_per_minute, key.revoked) == ("app", "score", 500, None)
    assert key.sha256 == hash_of(secret.strip())

    code, out, err = shell("key", "list")
    assert (code, err) == (0, "")
    assert ["app", "score", "500"] in [line.split()[:3] for line in out.splitlines()]

    assert shell("key", "revoke", "app").code == 0
    assert read_keys(path).by_hash == {}
    code, out, _ = shell("key", "new", "app", "--role", "admin")
    assert code == 0
    assert [key.role for key in read_keys(path).active] == ["admin"]
    assert set(read_keys(path).by_hash) == {hash_of(out.strip())}


def test_name_in_use_and_unknown_name_are_one_line(shell: Shell) -> None:
    shell("key", "new", "app")
    code, out, err = shell("key", "new", "app")
    assert (code, out) == (2, "")
    assert err == "reranker: name: keys.json has a key 'app': revoke it first, or choose another name\n"
    code, out, err = shell("key", "revoke", "other")
    assert (code, out) == (2, "")
    assert err == "reranker: name: keys.json has no key 'other' that is not revoked: those are app\n"
    assert len(read_keys(shell.directory / "keys.json").active) == 1


def test_group_may_go_on_reading_a_file_that_it_could_read(shell: Shell) -> None:
    shell("key", "new", "one")
    path = shell.directory / "keys.json"
    path.chmod(0o640)
    shell("key", "new", "two")
    assert path.stat().st_mode & 0o777 == 0o640


def test_keys_that_are_made_at_once_are_all_kept(shell: Shell) -> None:
    program = "import pathlib, sys, cluster.keys; cluster.keys.add_key(pathlib.Path('k'), sys.argv[1])"
    makers = [subprocess.Popen([sys.executable, "-c", program, f"app-{n}"], cwd=shell.directory) for n in range(4)]
    assert [maker.wait() for maker in makers] == [0] * 4
    assert {key.name for key in read_keys(shell.directory / "k").active} == {f"app-{n}" for n in range(4)}
