"""Plans: units keep every query and their bounds, equal inputs give equal plans, and failures leave no files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.plan import Plan, cut_units, make_plan
from reranker.errors import CannotWrite, InvalidFile
from reranker.types import Passage
from tests.cluster.batch.collections import (
    Collection,
    pair_rows,
    plan_of,
    settings_of,
    units_of,
    write_files,
    write_rows,
)

MANY = Collection(
    {f"q{n}": f"query {n}" for n in range(9)},
    {f"d{n}": Passage(f"text {n}", f"title {n}") for n in range(20)},
    [(f"q{n}", f"d{(7 * n + m) % 20}", -m) for n in range(9) for m in range(1 + 2 * (n % 4))],
)


@given(counts=st.lists(st.integers(1, 8), max_size=50), unit_pairs=st.integers(1, 20))
def test_cut_units_keeps_every_query_in_order_within_unit_pairs(counts: list[int], unit_pairs: int) -> None:
    units = cut_units(np.array(counts, dtype=np.int64), unit_pairs)
    assert [query for first, last in units for query in range(first, last)] == list(range(len(counts)))
    sizes = [sum(counts[first:last]) for first, last in units]
    for (first, last), size in zip(units, sizes, strict=True):
        assert last > first
        assert size <= unit_pairs or last == first + 1
    for size, (following, _) in zip(sizes, units[1:], strict=False):
        assert size + counts[following] > unit_pairs, "a unit takes as many queries as fit"


@pytest.mark.parametrize("unit_pairs", [1, 6, 9, 1_000])
def test_plan_units_hold_whole_queries_in_run_order(unit_pairs: int, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, **write_files(tmp_path, MANY), unit_pairs=unit_pairs)
    units = units_of(plan)
    assert [query_id for unit in units for query_id in unit.query_ids] == list(MANY.queries)
    assert [query for unit in units for query in unit.queries] == list(MANY.queries.values())
    candidates = [
        (docid, Passage(text, title))
        for u in units
        for docid, title, text in zip(u.docids, u.titles, u.texts, strict=True)
    ]
    assert candidates == [(docid, MANY.passages[docid]) for _, docid, _ in MANY.run]
    assert [count for unit in units for count in unit.counts] == [1, 3, 5, 7, 1, 3, 5, 7, 1]
    assert plan.queries.tolist() == [len(unit.query_ids) for unit in units]
    assert plan.pairs.tolist() == [len(unit.docids) for unit in units]
    assert all(sum(unit.counts) <= max(unit_pairs, 7) for unit in units)
    assert len(units) == {1: 9, 6: 7, 9: 4, 1_000: 1}[unit_pairs]


def test_plan_files_are_equal_for_equal_inputs(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        plan = plan_of(tmp_path / name, **write_files(tmp_path / name, MANY), unit_pairs=5)
        contents.append({path.name: path.read_bytes() for path in plan.directory.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"units.arrow", "passages.arrow", "plan.json"}


def test_opened_plan_equals_the_plan_that_was_made(tmp_path: Path) -> None:
    files = write_files(tmp_path, MANY)
    with files["run"].open("a") as run:
        run.write("q-none Q0 d1 1 1 t\n")
    made = plan_of(tmp_path, **files, unit_pairs=5, max_bad_rows=1)
    opened = Plan.open(made.directory)
    assert opened is not None
    assert (opened.directory, opened.bad_rows) == (made.directory, made.bad_rows) == (tmp_path / "plan", 1)
    assert opened.queries.tolist() == made.queries.tolist()
    assert opened.pairs.tolist() == made.pairs.tolist()
    assert sum(opened.pairs) == len(MANY.run)


def test_incomplete_plan_is_not_opened_and_is_made_again(tmp_path: Path) -> None:
    files = write_files(tmp_path, MANY)
    assert Plan.open(tmp_path / "plan") is None
    expected = units_of(plan_of(tmp_path, **files))
    (tmp_path / "plan" / "plan.json").unlink()
    (tmp_path / "plan" / "bad_rows.jsonl").write_text("from an earlier attempt\n")
    assert Plan.open(tmp_path / "plan") is None
    again = plan_of(tmp_path, **files)
    assert units_of(again) == expected
    assert not again.dead_letters.exists()


@pytest.mark.parametrize("name", ["plan.json", "units.arrow", "passages.arrow", "bad_rows.jsonl"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "changed", "removed", "of another plan"])
def test_plan_with_a_damaged_file_is_not_opened(name: str, damage: str, tmp_path: Path) -> None:
    run = [*MANY.run, ("q-none", "d1", 1.0)]
    files = write_files(tmp_path, Collection(MANY.queries, MANY.passages, run))
    other = plan_of(tmp_path / "other", **files, unit_pairs=6, depth=2, max_bad_rows=1).directory / name
    plan = plan_of(tmp_path, **files, unit_pairs=5, max_bad_rows=1)
    path, contents = plan.directory / name, (plan.directory / name).read_bytes()
    middle = len(contents) // 2
    assert Plan.open(plan.directory) is not None
    if damage == "removed":
        path.unlink()
    else:
        changed = contents[:middle] + bytes([contents[middle] ^ 1]) + contents[middle + 1 :]
        of_another = b"{}" if other.read_bytes() == contents else other.read_bytes()
        path.write_bytes({"cut": contents[:-1], "emptied": b"", "changed": changed}.get(damage, of_another))
    assert Plan.open(plan.directory) is None


def test_plan_of_another_job_is_not_opened(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **write_files(tmp_path, MANY))
    make_plan(settings, tmp_path / "plan", lambda message: None, "one job")
    assert Plan.open(tmp_path / "plan", "one job") is not None
    assert Plan.open(tmp_path / "plan", "another") is None


def test_plan_counts_queries_without_candidates(tmp_path: Path) -> None:
    """Those that the run does not name, and those whose passages are all missing; not those that are in no file."""
    queries = MANY.queries | {"q-unnamed": "query", "q-lost": "query"}
    run = [*MANY.run, ("q-lost", "nowhere", 1.0), ("q-absent", "d1", 1.0)]
    files = write_files(tmp_path, Collection(queries, MANY.passages, run))
    assert plan_of(tmp_path, **files, max_bad_rows=2).queries_without_candidates == 2
    table = write_rows(tmp_path / "pairs.jsonl", pair_rows(MANY))
    assert plan_of(tmp_path, pairs=table).queries_without_candidates == 0


def test_read_unit_reads_the_new_plan_after_one_was_replaced(tmp_path: Path) -> None:
    files = write_files(tmp_path, MANY)
    before = units_of(plan_of(tmp_path, **files))
    changed = Collection(MANY.queries, {docid: Passage("changed") for docid in MANY.passages}, MANY.run[::-1])
    after = units_of(plan_of(tmp_path, **write_files(tmp_path, changed)))
    assert "changed" not in before[0].texts
    assert set(after[0].texts) == {"changed"}
    assert after[0].query_ids == list(MANY.queries)[::-1]


def test_failed_plan_leaves_no_directory(tmp_path: Path) -> None:
    files = write_files(tmp_path, MANY)
    files["run"].write_text("")
    with pytest.raises(InvalidFile, match=r"run\.trec: is empty"):
        plan_of(tmp_path, **files)
    assert not (tmp_path / "plan").exists()


def test_make_plan_reports_progress(tmp_path: Path) -> None:
    run = [(f"q{n}", "d1", 0) for n in range(50_001)]
    files = write_files(tmp_path, Collection({"q7": "query"}, {"d1": Passage("text")}, run))
    messages: list[str] = []
    make_plan(settings_of(tmp_path, **files, max_bad_rows=50_000), tmp_path / "plan", messages.append)
    assert messages == ["reading run: 50,000"]


def test_make_plan_on_a_full_disk_raises_one_line_and_leaves_no_files(small_disk: Path, tmp_path: Path) -> None:
    corpus = {f"d{n}": Passage("text " * 1_000) for n in range(500)}
    files = write_files(tmp_path, Collection({"q": "query"}, corpus, [("q", docid, 0) for docid in corpus]))
    with pytest.raises(CannotWrite, match=r"plan cannot be written: .*No space left on device") as caught:
        make_plan(settings_of(tmp_path, **files), small_disk / "plan", lambda message: None)
    assert "\n" not in str(caught.value)
    assert list(small_disk.iterdir()) == []
