"""A resumed job redoes exactly what is damaged or missing, and ends with the files of an undisturbed one.

Without Ray: scores are made up. Damaged are any files of the output, in any way, of a finished or of a killed job.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.batch.names import path_of
from reranker.errors import JobRefused
from tests.cluster.batch.fake_jobs import PAIRS, UNITS, FakeJob, copied, report_of

PARTS = {path_of(unit): unit for unit in range(UNITS)}
RECORDS = ("_SUCCESS", "job.json")


@dataclass(frozen=True, repr=False)
class Begun:
    """A job in two states, the same states of another job, and the files of an undisturbed run."""

    jobs: dict[str, FakeJob]
    others: dict[str, FakeJob]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    directory = tmp_path_factory.mktemp("jobs")

    def in_both_states(name: str, version: str) -> dict[str, FakeJob]:
        states = {
            state: FakeJob(directory / "in", directory / name / state, version=version)
            for state in ("finished", "killed")
        }
        states["finished"].run()
        with pytest.raises(KeyboardInterrupt):
            states["killed"].run(dies_after=3, reverse=True)
        return states

    jobs = in_both_states("job", "1")
    return Begun(jobs, in_both_states("other", "2"), jobs["finished"].files)


def damage(path: Path, how: str, other: Path, at: float) -> None:
    """at: place in the file, from 0 to 1."""
    contents = path.read_bytes()
    place = min(int(at * len(contents)), len(contents) - 1)
    if how == "removed":
        path.unlink()
    elif how == "replaced by another job's" and other.is_file():
        path.write_bytes(other.read_bytes())
    elif how == "changed":
        path.write_bytes(contents[:place] + bytes([contents[place] ^ 1]) + contents[place + 1 :])
    elif how == "replaced by another file":
        path.write_bytes(max(path.parent.glob("*[!k]"), key=lambda file: (file.is_file(), file.name)).read_bytes())
    else:
        path.write_bytes(b"" if how == "emptied" else contents[:place])


HOW = ("removed", "emptied", "cut", "changed", "replaced by another job's", "replaced by another file")


def names_in(job: FakeJob) -> list[str]:
    return sorted(str(path.relative_to(job.output)) for path in job.output.rglob("*") if path.is_file())


def check(begun: Begun, state: str, damages: dict[str, tuple[str, float]], output: Path) -> None:
    """Damage the files in these ways and resume the job."""
    job, other = copied(begun.jobs[state], output), begun.others[state].output
    missing = {unit for name, unit in PARTS.items() if not (output / name).exists()}
    before = job.files
    for name, (how, at) in damages.items():
        damage(output / name, how, other / name, at)
    differing = {name for name in damages if name not in job.files or job.files[name] != before.get(name)}
    redone = missing | {PARTS[name] for name in differing & PARTS.keys()}
    damaged = job.files
    foreign = any(how == "replaced by another job's" for name, (how, _) in damages.items() if name in PARTS)
    try:
        assert job.resumed() == redone
    except JobRefused:  # neither a record nor the parts prove that these files are of this job
        assert differing & set(RECORDS)
        assert foreign or len(redone) == UNITS
        assert job.files == damaged
        return
    assert job.files == begun.files
    totals = json.loads(job.files["_SUCCESS"])["counts"]
    assert totals["pairs"] == PAIRS
    assert totals.items() <= report_of(job).items()
    job.run()
    assert job.resumed() == set()


@pytest.mark.parametrize("state", ["finished", "killed"])
def test_undamaged_job_scores_what_is_missing(begun: Begun, state: str, tmp_path: Path) -> None:
    check(begun, state, {}, tmp_path / "out")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.sampled_from(["finished", "killed"]), data=st.data())
def test_any_damage_is_found_and_the_result_is_the_same(
    begun: Begun, state: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = st.sampled_from(names_in(begun.jobs[state]))
    damages = data.draw(st.dictionaries(names, st.tuples(st.sampled_from(HOW), st.floats(0, 1)), min_size=1))
    check(begun, state, damages, tmp_path_factory.mktemp("damaged") / "out")


def test_damage_is_said_before_it_is_mended(begun: Begun, tmp_path: Path) -> None:
    job = copied(begun.jobs["finished"], tmp_path / "out")
    for name in (*PARTS, "run.trec"):
        (job.output / name).write_bytes(b"")
    assert job.resumed() == set(PARTS.values())
    first = ", ".join(list(PARTS)[:3])
    assert job.said.startswith(f"{job.output}: damaged or missing: {first}, …. What they held is made again\n")


def test_damaged_run_is_written_again_without_reading_the_inputs(begun: Begun, tmp_path: Path) -> None:
    job = copied(begun.jobs["finished"], tmp_path / "out")
    (job.output / "run.trec").write_bytes(b"q0 Q0 d0 1 0.0 t\n")
    before = (job.output / "_SUCCESS").stat().st_mtime_ns
    assert job.resumed() == set()
    assert job.files == begun.files
    assert (job.output / "_SUCCESS").stat().st_mtime_ns == before


def test_plan_made_again_keeps_the_bad_rows_of_finished_units(begun: Begun, tmp_path: Path) -> None:
    job = copied(begun.jobs["killed"], tmp_path / "out")
    shutil.rmtree(job.output / "work")
    assert job.resumed() == {0}
    assert job.files["bad_rows.jsonl"] == begun.files["bad_rows.jsonl"]


def test_plan_is_kept_when_the_driver_learns_the_checkpoint(begun: Begun, tmp_path: Path) -> None:
    """The weights were not on the machine where the job began, are on a second one, and not on a third."""
    job = copied(begun.jobs["killed"], tmp_path / "out")
    record = json.loads((job.output / "job.json").read_bytes()) | {"checkpoint": None}
    (job.output / "job.json").write_text(json.dumps(record))
    plan = (job.output / "work" / "plan.json").stat().st_mtime_ns
    for checkpoint in ("0af3", None):
        job.identity = job.identity | {"checkpoint": checkpoint}
        with pytest.raises(KeyboardInterrupt):
            job.run(dies_after=0)
        assert (job.output / "work" / "plan.json").stat().st_mtime_ns == plan
    job.run()
    assert job.files == begun.files, "what was known of the checkpoint stays known"


def test_report_counts_queries_without_candidates(begun: Begun) -> None:
    finished = begun.jobs["finished"]
    assert finished.run().queries_without_candidates == 3
    assert report_of(finished)["queries_without_candidates"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("state", ["finished", "killed"])
def test_each_damage_of_each_file_is_found(begun: Begun, state: str, how: str, tmp_path: Path) -> None:
    for number, name in enumerate(names_in(begun.jobs[state])):
        for at in (0.0, 0.5, 1.0):
            check(begun, state, {name: (how, at)}, tmp_path / f"{number}-{at}")
