"""The output directory of a job: parts are atomic, and equal jobs write equal bytes however they were interrupted."""

import hashlib
import json
import threading
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.batch.inputs.bad_rows import BadRow, append_bad_rows
from cluster.batch.output import BatchOutput
from cluster.batch.scored import RANKED_ROWS, Counts, Scale
from cluster.batch.storage.directory import Directory
from reranker.errors import CannotWrite
from reranker.ir.runs import read_run
from tests.cluster.batch.outputs import JOB, SCALE, begin, contents_of, finish, rankings_of, scored_unit

UNITS = [scored_unit(0), scored_unit(1, bad=["x", "y"]), scored_unit(2, candidates=0, bad=["z"]), scored_unit(3)]


def parts_of(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "parquet").iterdir())


def test_parts_hold_the_committed_rankings(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path / "a" / "b"), resume=False) as output:
        begin(output)
        for unit in (UNITS[3], UNITS[1]):
            output.commit(unit)
        assert output.units == {1, 3}
        assert (output.rows, output.bad_rows) == (12, 2)
        assert output.counts == UNITS[1].counts + UNITS[3].counts
    assert parts_of(tmp_path / "a" / "b") == ["part-000001.parquet", "part-000003.parquet"]
    table = pq.read_table(tmp_path / "a" / "b" / "parquet" / "part-000003.parquet")
    assert table.equals(UNITS[3].ranked)
    assert table.schema.equals(RANKED_ROWS)


def test_reopened_output_knows_finished_units_and_deletes_partial_files(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output)
        for unit in UNITS[:3]:
            output.commit(unit)
    whole = contents_of(tmp_path / "parquet")
    (tmp_path / "parquet" / ".part-000003.parquet").write_bytes(b"PAR1 half of it")
    with BatchOutput.opened(Directory(tmp_path), resume=True) as again:
        assert again.units == {0, 1, 2}
        assert (again.counts, again.rows, again.bad_rows) == (output.counts, output.rows, output.bad_rows)
        assert (again.scale, again.identity, again.is_finished) == (SCALE, JOB, False)
        assert contents_of(tmp_path / "parquet") == whole
        again.commit(UNITS[3])
        assert again.units == {0, 1, 2, 3}
    assert not (tmp_path / ".lock").exists()


def test_parts_are_never_seen_half_written(tmp_path: Path) -> None:
    """Another thread reads each part as soon as it appears."""
    seen: dict[str, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.is_set() or len(seen) < 20:
            for part in (tmp_path / "parquet").glob("part-*"):
                if part.name not in seen:
                    seen[part.name] = pq.read_table(part).num_rows

    watcher = threading.Thread(target=watch, daemon=True)
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output)
        watcher.start()
        for number in range(20):
            output.commit(scored_unit(number, queries=20, candidates=200))
        done.set()
        watcher.join(timeout=10)
    assert list(seen.values()) == [4_000] * 20


@settings(max_examples=25)
@given(order=st.permutations(range(len(UNITS))), openings=st.lists(st.integers(0, len(UNITS)), max_size=2))
def test_output_files_do_not_depend_on_order_or_interruptions(
    order: list[int], openings: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    straight, other = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("other")
    lost = BadRow("is not JSON", "corpus.jsonl", 7, row="é")
    bounds = [0, *sorted(openings), len(UNITS)]
    for directory, pieces in (
        (straight, [range(4)]),
        (other, [order[first:last] for first, last in pairwise(bounds)]),
    ):
        for number, piece in enumerate(pieces):
            with BatchOutput.opened(Directory(directory), resume=number > 0) as output:
                if not number:
                    append_bad_rows(begin(output).plan / "bad_rows.jsonl", [lost])
                for unit in piece:
                    output.commit(replace(UNITS[unit], worker=directory.name))
                if number == len(pieces) - 1:
                    output.bad_rows += 1
                    finish(output)
    assert contents_of(straight) == contents_of(other)

    letters = [json.loads(line) for line in (other / "bad_rows.jsonl").read_text().splitlines()]
    assert [letter.get("docid") for letter in letters] == [None, "x", "y", "z"], "bad rows of the plan, then by unit"
    assert letters[0] == {"reason": "is not JSON", "file": "corpus.jsonl", "line": 7, "row": "é"}
    assert letters[1] == {"reason": "its logit is nan", "query_id": "q1-0", "docid": "x"}


def test_run_equals_the_parts_and_success_has_a_checksum_of_every_file(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output)
        for unit in reversed(UNITS):
            output.commit(unit)
        finish(output)
        assert output.is_finished
    run = read_run(tmp_path / "run.trec")
    rows = rankings_of(UNITS)
    assert [(query_id, docid) for query_id, docids in run.items() for docid in docids] == [
        (row["query_id"], row["docid"]) for row in rows
    ]
    files = contents_of(tmp_path)
    manifest = json.loads(files.pop("_SUCCESS"))
    parts = [f"parquet/part-00000{number}.parquet" for number in range(4)]
    assert list(manifest["files"]) == [*parts, "run.trec", "bad_rows.jsonl"], "job.json and work are deleted"
    assert manifest["files"] == {
        name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in files.items()
    }
    assert (manifest["job"], manifest["settings"]) == (JOB, {"top_k": None})
    assert Scale(**manifest["scale"]) == SCALE
    counts = sum((unit.counts for unit in UNITS), Counts())
    assert manifest["counts"] == asdict(counts) | {"rows": 18, "bad_rows": 3, "queries_without_candidates": 0}
    newest = max((tmp_path / name).stat().st_mtime_ns for name in files)
    assert (tmp_path / "_SUCCESS").stat().st_mtime_ns >= newest


def test_output_without_scored_candidates_has_an_empty_run(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(UNITS[2])
        finish(output)
    assert (tmp_path / "run.trec").read_bytes() == b""
    assert json.loads((tmp_path / "bad_rows.jsonl").read_text())["docid"] == "z"


def test_output_without_bad_rows_has_no_bad_rows_file(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(UNITS[0])
        finish(output)
    assert set(contents_of(tmp_path)) == {"_SUCCESS", "run.trec", "parquet/part-000000.parquet"}


@pytest.mark.parametrize("name", ["run.trec", "_SUCCESS"])
def test_output_that_failed_to_finish_has_no_success_and_can_be_resumed(name: str, tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(UNITS[0])
        (tmp_path / name).mkdir()
        with pytest.raises(CannotWrite, match="Finished units are kept: continue with --resume"):
            finish(output)
    assert not (tmp_path / "_SUCCESS").is_file()
    assert [path.name for path in tmp_path.glob(".*")] == []
    (tmp_path / name).rmdir()
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        assert output.units == {0}
        finish(output)
    assert (tmp_path / "_SUCCESS").is_file()
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        assert output.is_finished
        assert (output.identity, output.counts) == (JOB, UNITS[0].counts)


def test_unit_committed_twice_after_a_failure_writes_its_bad_rows_once(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output)
        (tmp_path / "parquet").write_text("in the way")
        with pytest.raises(CannotWrite, match=r"part-000001\.parquet cannot be written"):
            output.commit(UNITS[1])
        assert (output.units, output.rows, output.bad_rows) == (set(), 0, 0)
        (tmp_path / "parquet").unlink()
        append_bad_rows(output.plan / "bad_rows-000001.jsonl", UNITS[1].bad[:1])  # as left by a killed process
        output.commit(UNITS[1])
        finish(output)
    assert len((tmp_path / "bad_rows.jsonl").read_text().splitlines()) == 2


def test_part_that_changes_before_the_job_is_finished_is_scored_again(tmp_path: Path) -> None:
    part = tmp_path / "parquet" / "part-000001.parquet"
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        for unit in UNITS[:2]:
            begin(output).commit(unit)
        part.write_bytes(part.read_bytes()[:-1])
        with pytest.raises(
            CannotWrite, match=r"part-000001\.parquet has changed since it was written: continue with"
        ):
            finish(output)
    assert not (tmp_path / "_SUCCESS").exists()
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        assert output.units == {0}


def test_finished_output_says_at_once_what_it_says_when_it_is_opened_again(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(UNITS[1])
        assert (output.manifest, output.identity, output.is_finished) == (None, JOB, False)
        finish(output)
    with BatchOutput.opened(Directory(tmp_path), resume=True) as again:
        assert output.manifest is not None
        assert output.manifest == again.manifest
        assert output.identity == again.identity


def test_bad_rows_of_an_earlier_try_do_not_outlive_a_job_without_any(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(UNITS[0])
        (tmp_path / "bad_rows.jsonl").write_text("{}")
        finish(output)
        assert not (tmp_path / "bad_rows.jsonl").exists()
        assert output.is_finished


def test_report_that_is_missing_or_unreadable_is_empty(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        assert output.read_report() == {}
        for contents, report in (("[1]", {}), ("{", {}), ('{"pairs": 3}', {"pairs": 3})):
            (tmp_path / "report.json").write_text(contents)
            assert output.read_report() == report


def test_directory_in_the_place_of_a_part_is_not_a_finished_unit(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        begin(output).commit(UNITS[0])
        finish(output)
    for name in ("parquet/part-000000.parquet", "run.trec"):
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        assert output.damaged == ["parquet/part-000000.parquet", "run.trec"]
        assert (output.units, output.is_finished) == (set(), False)
        with pytest.raises(CannotWrite, match="cannot be written: Is a directory"):
            output.begin(JOB)


def test_run_is_mended_only_if_it_alone_is_damaged(tmp_path: Path) -> None:
    with BatchOutput.opened(Directory(tmp_path), resume=False) as output:
        for unit in UNITS[:2]:
            begin(output).commit(unit)
        finish(output)
    whole = contents_of(tmp_path)
    (tmp_path / "run.trec").write_bytes(b"")
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        output.mend_run()
        assert (output.damaged, output.is_finished) == ([], True)
    assert contents_of(tmp_path) == whole
    for name in ("run.trec", "bad_rows.jsonl"):
        (tmp_path / name).write_bytes(b"")
    with BatchOutput.opened(Directory(tmp_path), resume=True) as output:
        output.mend_run()
        assert output.damaged == ["bad_rows.jsonl", "run.trec"]
    assert (tmp_path / "run.trec").read_bytes() == b""
