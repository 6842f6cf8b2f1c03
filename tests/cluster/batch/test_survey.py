"""What a survey says of the files of an output directory, given as a dict: whose they are, and which are damaged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.identity import Identity, job_of
from cluster.batch.names import path_of
from cluster.batch.part import encode_part
from cluster.batch.seal import SEAL, seal
from cluster.batch.survey import Survey, checksum_of, differing, survey
from tests.cluster.batch.outputs import JOB, scored_unit

OTHER: Identity = {"version": "2", "inputs": {"run": "sha"}}
Files = dict[str, bytes]


def survey_of(files: Files, *job: str) -> Survey:
    return survey(
        files.keys(), lambda names: map(files.__getitem__, names), lambda name: checksum_of(files[name]), *job
    )


def part_of(unit: int, identity: Identity = JOB) -> bytes:
    return encode_part(scored_unit(unit), job_of(identity))[1]


def parts(*units: int, identity: Identity = JOB) -> Files:
    return {path_of(unit): part_of(unit, identity) for unit in units}


def success_of(files: Files, identity: Identity = JOB) -> bytes:
    listed = {name: checksum_of(contents) for name, contents in files.items()}
    return seal(json.dumps({"counts": {}, "job": identity, "files": listed} | SEAL).encode())


def finished(identity: Identity = JOB) -> Files:
    files = parts(0, 1, identity=identity) | {"run.trec": b"run", "bad_rows.jsonl": b"bad"}
    return files | {"_SUCCESS": success_of(files, identity)}


def record(identity: object) -> Files:
    return {"job.json": json.dumps(identity).encode()}


def test_survey_of_no_files_finds_nothing() -> None:
    assert survey_of({}) == Survey()
    assert survey_of({"notes": b"mine"}) == Survey()


def test_survey_of_a_finished_job_finds_all_parts_and_no_damage() -> None:
    files = finished()
    found = survey_of(files)
    assert (found.begun, found.job, found.jobs) == (JOB, job_of(JOB), {job_of(JOB)})
    assert (found.has_results, found.damaged) == (True, [])
    assert {name: part.unit for name, part in found.parts.items()} == {path_of(0): 0, path_of(1): 1}
    assert found.manifest == json.loads(files["_SUCCESS"])
    assert found.checksums == found.manifest["files"]


@given(data=st.data(), change=st.sampled_from(["removed", "changed"]))
def test_survey_of_a_finished_job_names_exactly_the_files_that_changed(data: st.DataObject, change: str) -> None:
    files = finished()
    names = data.draw(st.sets(st.sampled_from(sorted(files.keys() - {"_SUCCESS"}))))
    for name in names:
        if change == "removed":
            del files[name]
        else:
            files[name] += b"."
    found = survey_of(files)
    assert found.damaged == sorted(names)
    assert found.parts.keys() == {path_of(0), path_of(1)} - names
    assert found.manifest is not None


def test_whole_part_that_success_does_not_list_is_damaged() -> None:
    found = survey_of(finished() | parts(2))
    assert found.damaged == [path_of(2)]
    assert found.parts.keys() == {path_of(0), path_of(1)}


def test_survey_of_an_unfinished_job_names_the_parts_that_are_not_whole_or_another_jobs() -> None:
    files = parts(0, 1, 4) | parts(2, identity=OTHER) | record(JOB) | {"run.trec": b"half"}
    files[path_of(1)] = b"PAR1"
    found = survey_of(files)
    assert (found.begun, found.job, found.manifest) == (JOB, job_of(JOB), None)
    assert found.jobs == {job_of(JOB), job_of(OTHER)}
    assert found.damaged == [path_of(1), path_of(2)]
    assert found.parts.keys() == {path_of(0), path_of(4)}
    assert found.checksums.keys() == {path_of(0), path_of(1), path_of(2), path_of(4)}, "no other file has one yet"


def test_part_under_the_name_of_another_unit_is_damaged() -> None:
    found = survey_of(record(JOB) | parts(0) | {path_of(1): part_of(0)})
    assert found.damaged == [path_of(1)]
    assert found.parts.keys() == {path_of(0)}


@pytest.mark.parametrize("damaged", [b"", b"{}", b"[]", finished()["_SUCCESS"][:-1]])
def test_damaged_success_is_a_result_and_its_job_is_that_of_the_record(damaged: bytes) -> None:
    files = finished() | {"_SUCCESS": damaged}
    found = survey_of(files | record(OTHER))
    assert (found.manifest, found.has_results, found.begun) == (None, True, OTHER)
    assert found.damaged == [path_of(0), path_of(1)]
    alone = survey_of({"_SUCCESS": damaged})
    assert (alone.has_results, alone.jobs, alone.job, alone.parts) == (True, frozenset(), "", {})
    found = survey_of(files)
    assert (found.job, found.damaged) == (job_of(JOB), []), "the parts say whose they are"


def test_success_that_was_edited_names_its_job_and_is_no_manifest() -> None:
    files = finished()
    files["_SUCCESS"] = files["_SUCCESS"].replace(b'"counts": {}', b'"counts": {"rows": 1}')
    found = survey_of(files)
    assert (found.begun, found.manifest, found.damaged) == (JOB, None, [])


def test_success_says_which_job_began_before_the_record_does() -> None:
    found = survey_of(finished() | record(OTHER))
    assert (found.begun, found.job) == (JOB, job_of(JOB))
    assert found.manifest is not None


def test_damaged_part_alone_is_a_result() -> None:
    found = survey_of({path_of(0): b""})
    assert (found.begun, found.job, found.has_results, found.damaged) == (None, "", True, [path_of(0)])


def test_given_job_decides_whose_files_count() -> None:
    files = finished(OTHER) | parts(2)
    found = survey_of(files, job_of(JOB))
    assert (found.begun, found.job, found.manifest) == (OTHER, job_of(JOB), None)
    assert found.damaged == [path_of(0), path_of(1)]
    assert found.parts.keys() == {path_of(2)}


@pytest.mark.parametrize("missing", ["counts", "files", "job"])
def test_sealed_success_without_a_fact_is_not_a_manifest(missing: str) -> None:
    facts: dict[str, Any] = {"counts": {}, "job": JOB, "files": {}}
    del facts[missing]
    found = survey_of(parts(0) | {"_SUCCESS": seal(json.dumps(facts | SEAL).encode())})
    assert found.manifest is None
    assert found.damaged == []


@pytest.mark.parametrize("value", [[], {}, {"version": "1"}, {"inputs": {}}, None])
def test_record_that_is_no_identity_says_nothing_of_the_job(value: object) -> None:
    assert survey_of(record(value)).begun is None


@given(
    was=st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")),
    now=st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")),
)
def test_differing_files_are_those_changed_missing_or_not_listed(was: dict[str, str], now: dict[str, str]) -> None:
    same = {name for name in was if now.get(name) == was[name]}
    assert differing(now, was) == sorted((was.keys() | now.keys()) - same)
