"""A Ray that cannot be started or reached is one line that says what to do. Ray itself is never started here."""

import socket
from pathlib import Path

import pytest
import ray
from ray.exceptions import RaySystemError

from cluster.batch.session import ray_session
from reranker.errors import Unavailable

LOCAL = r"Ray could not be started on this machine \({}.*\): check that memory is free, .* with --resume"
REMOTE = r"no Ray cluster answers at --address auto \({}.*\): check with `ray status`"
FAILURES = [
    Exception("The current node timed out during startup.\n\nThis could happen because the GCS was overloaded."),
    RuntimeError("Failed to start the GCS"),
    ConnectionError("Could not find any running Ray instance."),
    TimeoutError("Timed out after 60 seconds"),
    OSError("AF_UNIX path length cannot exceed 107 bytes"),
    RaySystemError("System error: raylet died"),
    ValueError("The node is of another version of Ray"),
]


@pytest.mark.parametrize("address", [None, "auto"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_failed_start_of_ray_says_what_to_do(
    failure: Exception, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise failure

    monkeypatch.setattr(ray, "init", fail)
    message = (LOCAL if address is None else REMOTE).format(type(failure).__name__)
    with pytest.raises(Unavailable, match=message) as caught, ray_session(address):
        pytest.fail("there is no Ray")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is failure


def test_interrupted_start_is_not_an_error_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "init", interrupt)
    with pytest.raises(KeyboardInterrupt), ray_session(None):
        pass


def test_ray_in_a_directory_with_too_long_a_path_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real failure of Ray's, before it starts any process: its sockets need a short path."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 30)))
    problem = r"could not be started on this machine \(OSError: .*AF_UNIX path"
    with pytest.raises(Unavailable, match=problem), ray_session(None):
        pytest.fail("there is no Ray")
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", f"{'a' * 70}.example:6379"])
def test_address_that_cannot_exist_is_refused(address: str) -> None:
    with pytest.raises(Unavailable, match=f"no Ray cluster answers at --address {address}"), ray_session(address):
        pytest.fail("there is no Ray")


def test_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"no Ray cluster answers at --address {address}"), ray_session(address):
            pytest.fail("there is no Ray")
