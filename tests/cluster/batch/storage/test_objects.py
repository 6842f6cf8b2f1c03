"""What the rest relies on in an object store, of the one in memory that other tests use, and of S3."""

from __future__ import annotations

import io
import threading

import pytest

from cluster.batch.storage.objects import Objects
from tests.cluster.batch.storage.memory import MemoryObjects, Store


@pytest.fixture(params=["memory", "s3"])
def objects(request: pytest.FixtureRequest) -> Objects:
    if request.param == "memory":
        return MemoryObjects(Store())
    url = request.getfixturevalue("s3_url")
    from cluster.batch.storage.s3 import S3Objects

    return S3Objects(url())


def contents_of(objects: Objects, name: str) -> bytes | None:
    found = objects.read(name)
    return found.contents if found else None


def test_objects_are_read_as_they_were_written(objects: Objects) -> None:
    assert (objects.read("a"), objects.chunks("a"), objects.names("")) == (None, None, set())
    for contents in (b"one", b"", b"two\n" * 5):
        objects.write("a", contents)
        assert contents_of(objects, "a") == contents
        chunks = objects.chunks("a")
        assert chunks is not None
        assert b"".join(chunks) == contents
    objects.upload("a", io.BytesIO(b"three"))
    assert contents_of(objects, "a") == b"three"
    objects.remove("a")
    objects.remove("a")  # one that is not there
    assert objects.read("a") is None


def test_names_are_those_directly_in_a_directory(objects: Objects) -> None:
    names = ("a", ".b", "c/d", "c/e/f", "c/d%20ä +.parquet", "cc")
    for name in names:
        objects.write(name, b"")
    assert objects.names("") == {"a", ".b", "c", "cc"}
    assert objects.names("c/") == {"c/d", "c/e", "c/d%20ä +.parquet"}
    assert objects.names("none/") == set()


def test_write_on_a_condition_is_made_only_if_it_holds(objects: Objects) -> None:
    assert objects.write_if("a", b"0", '"version"') is None
    assert objects.read("a") is None
    first = objects.write_if("a", b"1", None)
    assert first is not None
    assert objects.write_if("a", b"2", None) is None
    assert contents_of(objects, "a") == b"1"
    second = objects.write_if("a", b"3", first)
    assert second not in (None, first)
    assert objects.write_if("a", b"4", first) is None
    found = objects.read("a")
    assert found is not None
    assert (found.contents, found.version) == (b"3", second)
    assert found.age_s >= 0
    objects.remove("a")
    assert objects.write_if("a", b"5", second) is None
    assert objects.read("a") is None


@pytest.mark.parametrize("exists", [False, True])
def test_of_many_writes_on_one_condition_one_is_made(objects: Objects, exists: bool) -> None:
    for number in range(5):
        name = f"race-{number}"
        version = objects.write_if(name, b"first", None) if exists else None
        start, made = threading.Barrier(4), list[bytes]()

        def write(contents: bytes) -> None:
            start.wait()  # noqa: B023  # of this round, which ends before the next begins
            if objects.write_if(name, contents, version) is not None:  # noqa: B023
                made.append(contents)  # noqa: B023

        threads = [threading.Thread(target=write, args=(b"%d" % writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [contents_of(objects, name)]
