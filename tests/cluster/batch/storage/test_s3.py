"""Jobs whose output is in S3, and one clear line for everything that a store can answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("boto3")

from cluster.batch.output import BatchOutput
from cluster.batch.settings import BatchSettings
from cluster.batch.storage import Storage
from cluster.batch.storage.lease import LEASE
from cluster.batch.storage.objects import NoConditionalWrites
from cluster.batch.storage.opening import storage_of
from cluster.batch.storage.prefix import Prefix
from cluster.batch.storage.s3 import S3Objects
from cluster.batch.survey import checksum_of
from cluster.sample import QRELS, RUN
from reranker.errors import InvalidFile, JobRefused, RerankerError, Unavailable
from reranker.ir.runs import read_run
from tests.cluster.batch.fake_jobs import FakeJob
from tests.cluster.batch.outputs import begin, scored_unit
from tests.cluster.conftest import Shell
from tests.servers import Answer, http_server


def settings_of(url: str, **more: object) -> BatchSettings:
    return BatchSettings.model_validate({"pairs": "pairs.jsonl", "output": url, "resume": True, **more})


def opened(url: str, work: Path) -> Storage:
    return storage_of(settings_of(url, work_dir=work), lambda line: None)


class S3Job(FakeJob):
    """A job of fake_jobs.py whose output is at this URL."""

    def __init__(self, inputs: Path, url: str, work: Path) -> None:
        super().__init__(inputs, work / "not-used")
        self.url, self.work, self.objects = url, work, S3Objects(url)

    def storage(self) -> Storage:
        return opened(self.url, self.work)

    @property
    def files(self) -> dict[str, bytes]:
        names = (self.objects.names("") | self.objects.names("parquet/")) - {"parquet", LEASE, "report.json"}
        return {name: found.contents for name in names if (found := self.objects.read(name))}


def test_output_in_s3_is_that_of_a_disk_byte_for_byte(s3_url: Callable[[], str], tmp_path: Path) -> None:
    on_disk = FakeJob(tmp_path / "in", tmp_path / "out")
    on_disk.run()
    job = S3Job(tmp_path / "in", s3_url().replace("?", "/a%20b?"), tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        job.run(dies_after=2)
    assert job.resumed() == {2, 3}
    assert job.files == on_disk.files
    assert job.resumed() == set()
    part = "parquet/part-000001.parquet"
    job.objects.write(part, on_disk.files["parquet/part-000000.parquet"])
    assert job.resumed() == {1}
    assert "damaged or missing: parquet/part-000001.parquet" in job.said
    assert job.files == on_disk.files
    assert list((tmp_path / "work").iterdir()) == [], "the plan is removed"
    location = job.url.replace("?", "/run.trec?")
    assert read_run(location) == read_run(on_disk.output / "run.trec"), "other commands read it by its URL"
    report = job.objects.read("report.json")
    assert report is not None
    assert json.loads(report.contents)["this_run"]["units"] == 1


def test_no_line_shows_the_credentials(s3_url: Callable[[], str], tmp_path: Path) -> None:
    url = s3_url()
    job = S3Job(tmp_path / "in", url, tmp_path / "work")
    job.run()
    job.objects.write("parquet/part-000001.parquet", b"")
    job.run()
    said = job.said
    with (
        BatchOutput.opened(opened(url, tmp_path), resume=True) as output,
        pytest.raises(JobRefused, match="its job was begun with version 1") as refused,
    ):
        output.admit(job.identity | {"version": "2"})
    assert said.startswith("s3://bucket/a/")
    for text in (said, str(refused.value), *map(str, job.files.values())):
        assert "secret" not in text
        assert "key:" not in text


def test_second_job_is_refused_while_the_first_one_has_its_lease(s3_url: Callable[[], str], tmp_path: Path) -> None:
    url = s3_url()
    with BatchOutput.opened(opened(url, tmp_path / "one"), resume=False) as output:
        begin(output).commit(scored_unit(0))
        refused = storage_of(settings_of(url, resume=False, work_dir=tmp_path / "two"), lambda line: None)
        with pytest.raises(JobRefused, match=r"^s3://bucket/a/\d+ is in use by process"), refused.held():
            pass
    with BatchOutput.opened(opened(url, tmp_path / "two"), resume=True) as output:
        assert output.units == {0}


def test_plan_is_at_one_place_of_the_machine_for_each_output(tmp_path: Path) -> None:
    urls = ("s3://key:secret@bucket/a", "s3://another:password@bucket/a", "s3://key:secret@bucket/b")
    first, same, other = (opened(url, tmp_path).plan for url in urls)
    assert first == same != other
    assert {first.parent, other.parent} == {tmp_path}
    by_default = storage_of(settings_of(urls[0]), lambda line: None).plan
    assert by_default.name == first.name
    assert by_default.parent.stat().st_mode & 0o777 == 0o700


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """The URL of a store that answers all requests with this error."""
    body = f"<Error><Code>{code}</Code><Message>of AKIAKEY and secret</Message></Error>".encode()

    with http_server(lambda _: Answer(status, body)) as url:
        host = url.removeprefix("http://")
        yield f"s3://AKIAKEY:secret@bucket/out?scheme=http&endpoint_override={host}&region=us-east-1"


def error_at(url: str) -> RerankerError:
    storage = Prefix(S3Objects(url), Path("none"), wait=True, say=lambda line: None, pause=lambda seconds: None)
    with pytest.raises(RerankerError) as caught, BatchOutput.opened(storage, resume=True):
        pass
    assert str(caught.value).startswith("s3://bucket/out: ")
    for word in ("secret", "AKIAKEY", "\n"):
        assert word not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind", "line"),
    [
        (403, "AccessDenied", InvalidFile, "the store does not let these credentials list objects (AccessDenied)"),
        (403, "SignatureDoesNotMatch", InvalidFile, "credentials list objects (SignatureDoesNotMatch): check them"),
        (400, "ExpiredToken", InvalidFile, "credentials list objects (ExpiredToken): check them and their rights"),
        (404, "NoSuchBucket", InvalidFile, "there is no bucket 'bucket': create it, or check its name"),
        (400, "InvalidRequest", InvalidFile, "did not list objects (InvalidRequest)"),
    ],
)
def test_error_of_the_store_is_one_line(status: int, code: str, kind: type[RerankerError], line: str) -> None:
    with answering(status, code) as url:
        error = error_at(url)
    assert type(error) is kind
    assert line in str(error)


def test_failure_of_the_store_is_one_that_may_pass() -> None:
    with answering(503, "SlowDown") as url, pytest.raises(ConnectionError, match=r"failed \(SlowDown\): try again$"):
        S3Objects(url).names("")


def test_store_that_does_not_answer_is_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{unused.getsockname()[1]}"
        url = f"s3://AKIAKEY:secret@bucket/out?scheme=http&endpoint_override={endpoint}"
        error = error_at(url)
    assert type(error) is Unavailable
    assert f"no answer from http://{endpoint}: check the endpoint and the network" in str(error)


def test_missing_credentials_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    error = error_at("s3://bucket/out")
    assert type(error) is InvalidFile
    assert "no credentials (NoCredentialsError): set AWS_ACCESS_KEY_ID" in str(error)


def test_store_that_refuses_conditions_is_not_used() -> None:
    with answering(501, "NotImplemented") as url, pytest.raises(NoConditionalWrites):
        S3Objects(url).write_if(LEASE, b"", None)


def test_large_files_are_uploaded_whole(s3_url: Callable[[], str], tmp_path: Path) -> None:
    """In several requests, of which nothing is seen before the last."""
    storage = opened(s3_url(), tmp_path)
    line = "x" * (2**20 - 1) + "\n"
    with storage.held():
        checksum = storage.write("run.trec", (line for _ in range(17)))
    assert storage.checksum("run.trec") == checksum == checksum_of(line.encode() * 17)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("s3:///out", "s3:///out: is not the URL of a place in a store: use s3://bucket/prefix"),
        ("s3://bucket/out#1", "s3://bucket/out#1: is not the URL of a place in a store: use s3://bucket/prefix"),
        ("s3://[bucket/out", "s3://[bucket/out: is not a URL: Invalid IPv6 URL"),
        ("s3://key:sec/ret@bucket/out", "s3://bucket/out: is not the URL of a place in a store"),
        ("s3://key:secret@bucket/out?acl=x", "s3://bucket/out?acl=x: has the option 'acl': an output knows region,"),
        ("s3://key:secret@bucket/out?endpoint_override=::x", "s3://bucket/out: cannot be opened: Invalid endpoint"),
    ],
)
def test_wrong_url_is_refused_without_its_credentials(url: str, line: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        S3Objects(url)
    assert str(caught.value).startswith(line)
    assert "sec" not in str(caught.value)


def test_command_ends_with_one_line_and_an_exit_code(s3_url: Callable[[], str], shell: Shell) -> None:
    pairs = shell.directory / "pairs.jsonl"
    pairs.write_text('{"query_id": "q", "query": "q", "docid": "d", "text": "t"}\n')
    url = s3_url()
    for output, code, line in (
        (url.replace("@bucket/", "@no-such/"), 2, "there is no bucket 'no-such': create it, or check its name\n"),
        ("gs://key:secret@bucket/out", 2, "output: 'gs://bucket/out' cannot be written: use a directory, or s3://"),
    ):
        for more in ([], ["--dry-run"]):
            ended = shell("batch", "--pairs", pairs, "--output", output, *more)
            assert (ended.code, ended.out) == (code, "")
            assert line in ended.err
            assert ended.err.count("\n") == 1
            assert "secret" not in ended.err
    S3Objects(url).write("notes", b"mine")
    ended = shell("batch", "--pairs", pairs, "--output", url)
    assert ended.code == 2
    assert ended.err.endswith(" is not empty and holds no job: choose another --output\n")
    assert "secret" not in ended.err


def test_run_in_s3_is_evaluated_by_its_url(s3_url: Callable[[], str], shell: Shell) -> None:
    url = s3_url()
    S3Objects(url).write("run.trec", RUN.read_bytes())
    ended = shell("evaluate", "--json", "--qrels", QRELS, RUN, url.replace("?", "/run.trec?"))
    assert ended.code == 0, ended.err
    first, second = json.loads(ended.out)["runs"]
    assert (first["run"], second["run"]) == (RUN.parent.name, url.partition("?")[0].rpartition("/")[2])
    assert first["mean"] == second["mean"]
    assert "secret" not in ended.out
