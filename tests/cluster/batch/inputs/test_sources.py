"""All forms and formats of the same data give the same units, and only passages that are named are stored."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.batch.inputs import sources
from cluster.batch.inputs.bad_rows import BadRows
from cluster.batch.inputs.passages import PassageWriter
from cluster.batch.inputs.sources import read_candidates
from cluster.batch.plan import Unit
from reranker.errors import InvalidFile
from reranker.types import Passage
from tests.cluster.batch.collections import (
    TIDES,
    Collection,
    pair_rows,
    plan_of,
    query_rows,
    settings_of,
    units_of,
    write_files,
    write_rows,
)
from tests.reranker.ir.files import EVERY_FORMAT, GZIPPED, content_of

SEVILLA = "El andén tres es para Sevilla."
TIDES_UNIT = Unit(
    ["q2", "q1"],
    ["why does bread rise", "when is high tide"],
    [2, 3],
    ["d2", "d4", "d1", "d3", "d4"],
    ["Bread", "", "Tides", "Nothing", ""],
    ["Because of yeast. ", SEVILLA, "High tide is at noon.", "", SEVILLA],
)


def stored(directory: Path, **options: object) -> tuple[int, int]:
    """Read the inputs. Returns (stored passages, candidates)."""
    with PassageWriter(directory / "store.arrow") as store:
        candidates = read_candidates(
            settings_of(directory, **options), store, BadRows(0), directory / "bad.jsonl", lambda message: None
        )
        return len(store), len(candidates.positions)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "tsv", "tsv.gz", "parquet"])
def test_plan_is_equal_for_every_format_of_queries_and_corpus(suffix: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, **write_files(tmp_path, suffix=suffix))
    assert units_of(plan) == [TIDES_UNIT]
    assert plan.bad_rows == 0


@pytest.mark.parametrize("name", [*EVERY_FORMAT, *GZIPPED, "a.NDJSON", "a.Json", "a.CSV.gz", "a.TSV", "a.PARQUET"])
@pytest.mark.parametrize("columns", [("_id", "title", "text"), ("ID", "text", "Title"), ("pid", "contents", "title")])
def test_plan_is_equal_for_every_ending_and_order_of_columns(
    name: str, columns: tuple[str, str, str], tmp_path: Path
) -> None:
    files = write_files(tmp_path)
    rows = [
        {column: (docid if n == 0 else passage.title if "title" in column.lower() else passage.text)}
        for docid, passage in TIDES.passages.items()
        for n, column in enumerate(columns)
    ]
    corpus = [rows[at] | rows[at + 1] | rows[at + 2] for at in range(0, len(rows), 3)]
    queries = [{"qid": query_id, "Query": query} for query_id, query in TIDES.queries.items()]
    for role, table in (("corpus", corpus), ("queries", queries)):
        files[role] = tmp_path / f"{role}{name[1:]}"
        files[role].write_bytes(content_of(name, table))
    assert units_of(plan_of(tmp_path, **files)) == [TIDES_UNIT]


@pytest.mark.parametrize("order", [("text", "title"), ("title", "text")])
def test_tsv_of_ids_titles_and_texts_without_a_header_is_refused(order: tuple[str, str], tmp_path: Path) -> None:
    """Nothing in it says which of the two is the title."""
    rows = [
        {"_id": docid} | {field: getattr(passage, field) for field in order}
        for docid, passage in TIDES.passages.items()
    ]
    corpus = write_rows(tmp_path / "corpus.tsv", rows)
    with pytest.raises(InvalidFile, match=r"corpus\.tsv:1: has 3 columns and no header that says which is which"):
        plan_of(tmp_path, **write_files(tmp_path) | {"corpus": corpus})
    corpus = write_rows(tmp_path / "corpus.tsv", rows, header=True)
    assert units_of(plan_of(tmp_path, **write_files(tmp_path) | {"corpus": corpus})) == [TIDES_UNIT]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_plan_is_equal_for_tables_of_pairs_and_of_candidates(suffix: str, tmp_path: Path) -> None:
    pairs = write_rows(tmp_path / f"pairs.{suffix}", pair_rows())
    candidates = write_rows(tmp_path / f"candidates.{suffix}", query_rows())
    assert units_of(plan_of(tmp_path / "pairs", pairs=pairs)) == [TIDES_UNIT]
    assert units_of(plan_of(tmp_path / "candidates", candidates=candidates)) == [TIDES_UNIT]


def test_ms_marco_tsv_files_are_read_unchanged(tmp_path: Path) -> None:
    files = write_files(tmp_path, suffix="tsv", titles=False)
    collection = files["corpus"].rename(tmp_path / "collection.tsv")
    assert collection.read_text().startswith("d1\tHigh tide is at noon.\nd2\tBecause of yeast. \nd3\t\n")
    plan = plan_of(tmp_path, **files | {"corpus": collection})
    assert units_of(plan) == [replace(TIDES_UNIT, titles=[""] * 5)]


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
    docids = draw(st.lists(st.sampled_from([f"d{n}" for n in range(9)]), min_size=1, unique=True))
    queries = {f"q{n}": f"query {draw(words)}" for n in range(draw(st.integers(1, 4)))}
    pairs = st.tuples(st.sampled_from(list(queries)), st.sampled_from(docids))
    run = draw(st.lists(pairs, min_size=1, max_size=20, unique=True))
    scores = draw(st.lists(st.sampled_from([0.0, 1.5, -2.0, 1e30]), min_size=len(run), max_size=len(run)))
    return Collection(
        queries,
        {docid: Passage(draw(words), draw(words)) for docid in docids},
        [(*pair, score) for pair, score in zip(run, scores, strict=True)],
    )


@given(collection=collections(), depth=st.none() | st.integers(1, 3), unit_pairs=st.integers(1, 12))
def test_units_are_equal_for_all_three_forms_of_input(
    collection: Collection, depth: int | None, unit_pairs: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp() / "forms"
    options = {"depth": depth, "unit_pairs": unit_pairs}
    files = write_files(directory, collection)
    expected = units_of(plan_of(directory, **files, **options))
    pairs = write_rows(directory / "pairs.jsonl", pair_rows(collection))
    candidates = write_rows(directory / "candidates.jsonl", query_rows(collection))
    assert units_of(plan_of(directory, pairs=pairs, **options)) == expected
    assert units_of(plan_of(directory, candidates=candidates, **options)) == expected

    scores = {(query_id, docid): score for query_id, docid, score in collection.run}
    for unit in expected:
        end = 0
        for query_id, count in zip(unit.query_ids, unit.counts, strict=True):
            start, end = end, end + count
            of_query = [scores[query_id, docid] for docid in unit.docids[start:end]]
            assert of_query == sorted(of_query, reverse=True)[: depth or None]
    assert len({query_id for unit in expected for query_id in unit.query_ids}) == len(
        {q for q, _, _ in collection.run}
    )


def test_table_without_scores_keeps_row_order(tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("query_id", "query", "docid", "text")} for row in pair_rows()]
    (unit,) = units_of(plan_of(tmp_path, pairs=write_rows(tmp_path / "pairs.jsonl", rows), depth=2))
    assert (unit.query_ids, unit.counts) == (["q2", "q1"], [2, 2])
    assert unit.docids == ["d2", "d4", "d3", "d1"]
    assert unit.titles == [""] * 4


def test_query_may_span_several_rows(tmp_path: Path) -> None:
    rows = query_rows()
    more = {"query_id": "q2", "query": TIDES.queries["q2"], "docids": ["d1"], "texts": ["x"], "titles": [""]}
    path = write_rows(tmp_path / "candidates.jsonl", [*rows, more | {"first_stage_scores": [99]}])
    (unit,) = units_of(plan_of(tmp_path, candidates=path))
    assert (unit.query_ids, unit.counts) == (["q2", "q1"], [3, 3])
    assert unit.docids[:3] == ["d1", "d2", "d4"]


@pytest.mark.parametrize("chunk_rows", [32_768, 4_096])
def test_passages_named_by_the_run_are_stored_once_and_no_others(
    chunk_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNK_ROWS", chunk_rows)  # the corpus in one chunk, and in several
    unwanted = {f"x{n}": Passage(f"nobody asks for {n}") for n in range(20_000)}
    passages = {"x-first": Passage("first")} | unwanted | TIDES.passages
    run = [*TIDES.run, ("q1", "x-first", 0.0), ("q1", "x777", 0.5), ("q2", "x777", 0.5)]
    files = write_files(tmp_path, Collection(TIDES.queries, passages, run))
    assert stored(tmp_path, **files) == (6, 8)
    plan = plan_of(tmp_path, **files)
    assert (plan.directory / "passages.arrow").stat().st_size < 4_096
    (unit,) = units_of(plan)
    assert unit.docids == ["d2", "d4", "x777", "d1", "d3", "d4", "x777", "x-first"]
    assert [unit.texts[at] for at in (2, 6, 7)] == ["nobody asks for 777", "nobody asks for 777", "first"]


def test_passages_below_depth_are_not_stored(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    assert stored(tmp_path, **files) == (4, 5)
    assert stored(tmp_path, **files, depth=1) == (2, 2)
    (unit,) = units_of(plan_of(tmp_path, **files, depth=1))
    assert (unit.query_ids, unit.docids, unit.counts) == (["q2", "q1"], ["d2", "d1"], [1, 1])


@pytest.mark.parametrize("form", ["pairs", "candidates"])
def test_table_of_only_bad_rows_is_refused(form: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{}, {}])
    with pytest.raises(InvalidFile, match=r"rows\.jsonl: has no candidates"):
        plan_of(tmp_path, **{form: path}, max_bad_rows=2)
