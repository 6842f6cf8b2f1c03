"""Bad rows of every kind are written to the dead letters with file, line and reason, or fail the job."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reranker.errors import TooManyBadRows
from tests.cluster.batch.collections import (
    Row,
    dead_letters_of,
    pair_rows,
    plan_of,
    query_rows,
    units_of,
    write_files,
    write_rows,
)

Options = dict[str, Path]
PAIRS, QUERIES = pair_rows(), query_rows()  # query ids: q2, q1, q2, q1, q1; and q2, q1


def into(role: str, *lines: Row | bytes, suffix: str = "jsonl") -> Callable[[Path], Options]:
    """Appends these lines to one of the three files."""

    def spoil(directory: Path) -> Options:
        files = write_files(directory, suffix=suffix)
        written = write_rows(directory / f"more.{suffix}", lines).read_bytes()
        files[role].write_bytes(files[role].read_bytes() + written)
        return files

    return spoil


def table(role: str, rows: list[Row], *more: Row | bytes) -> Callable[[Path], Options]:
    return lambda directory: {role: write_rows(directory / f"{role}.jsonl", [*rows, *more])}


# Name -> a function that writes inputs with bad rows, and for each bad row its file, line and start of the reason.
BAD: dict[str, tuple[Callable[[Path], Options], list[tuple[str, int | None, str]]]] = {
    "corpus: not JSON": (into("corpus", b'{"_id": "d6", '), [("corpus.jsonl", 6, "is not JSON: ")]),
    "corpus: not UTF-8": (into("corpus", b'{"_id": "d6", "text": "\xe9"}'), [("corpus.jsonl", 6, "is not UTF-8")]),
    "corpus: no object": (
        into("corpus", b'["d6", "text"]'),
        [("corpus.jsonl", 6, "must be one JSON object per line")],
    ),
    "corpus: no text": (into("corpus", {"_id": "d6"}), [("corpus.jsonl", 6, "has no `text` or ")]),
    "corpus: no id": (into("corpus", {"text": "text"}), [("corpus.jsonl", 6, "has no `_id` or ")]),
    "corpus: a list": (
        into("corpus", {"_id": "d6", "text": ["text"]}),
        [("corpus.jsonl", 6, "`text` must be a string, got ['text']")],
    ),
    "corpus: half a character": (
        into("corpus", {"_id": "\ud83d", "text": "text"}),
        [("corpus.jsonl", 6, "`_id` '\\ud83d' contains a lone surrogate")],
    ),
    "corpus: twice": (
        into("corpus", {"_id": "d1", "text": "Another text."}),
        [("corpus.jsonl", 6, "passage 'd1' occurs twice")],
    ),
    "corpus: a tab too many": (
        into("corpus", b"d6\ta\tb\tc", suffix="tsv"),
        [("corpus.tsv", 7, "has 4 columns where 3 are expected: _id title text")],
    ),
    "queries: empty": (into("queries", {"_id": "q9", "text": " "}), [("queries.jsonl", 4, "query 'q9' is empty")]),
    "queries: twice": (
        into("queries", {"_id": "q1", "text": "when is low tide"}),
        [("queries.jsonl", 4, "query 'q1' occurs twice")],
    ),
    "run: columns": (into("run", b"q1 d2 1.0"), [("run.trec", 6, "has 3 columns, expected 6: ")]),
    "run: score": (into("run", b"q1 Q0 d2 1 high t"), [("run.trec", 6, "score must be a finite number, got 'high'")]),
    "run: twice": (
        into("run", b"q1 Q0 d1 1 8.5 t", b"q1 Q0 d1 1 6.5 t"),
        [("run.trec", line, "passage 'd1' occurs twice for query 'q1'") for line in (6, 7)],
    ),
    "run: unknown query": (
        into("run", b"q9 Q0 d1 1 8.5 t", b"q9 Q0 d2 1 8.5 t"),
        [("run.trec", None, "this query of the run is not in the queries file")],
    ),
    "run: one unknown passage": (
        into("run", b"q1 Q0 d9 1 8.5 t", b"q2 Q0 d9 1 8.5 t"),
        [("run.trec", None, "this passage of the run is not in the corpus")],
    ),
    "run: unknown passages": (
        into("run", b"q1 Q0 d9 1 8.5 t", b"q2 Q0 d8 1 8.5 t"),
        [("run.trec", None, "this passage of the run is not in the corpus")] * 2,
    ),
    "pairs: not JSON": (table("pairs", PAIRS, b"when is high tide"), [("pairs.jsonl", 6, "is not JSON: ")]),
    "pairs: no query": (
        table("pairs", PAIRS, PAIRS[0] | {"query": None}),
        [("pairs.jsonl", 6, "`query` must be a string, got None")],
    ),
    "pairs: two texts of a query": (
        table("pairs", PAIRS, PAIRS[0] | {"query": "why does bread not rise", "docid": "d9"}),
        [("pairs.jsonl", 6, "query 'q2' has a different text in an earlier row")],
    ),
    "pairs: twice": (
        table("pairs", PAIRS, PAIRS[1] | {"text": "Another text.", "first_stage_score": 99}),
        [("pairs.jsonl", 6, "passage 'd3' occurs twice for query 'q1'")],
    ),
    "pairs: some without a score": (
        table("pairs", PAIRS, PAIRS[0] | {"docid": "d9", "first_stage_score": None}),
        [("pairs.jsonl", 6, "some rows have a first_stage_score and some have none")],
    ),
    "pairs: a number too large": (
        table("pairs", PAIRS, PAIRS[0] | {"docid": "d9", "first_stage_score": 10**400}),
        [("pairs.jsonl", 6, "`first_stage_score` must be a finite number, got 1000")],
    ),
    "candidates: lists differ": (
        table("candidates", QUERIES, QUERIES[0] | {"query_id": "q9", "texts": ["text"]}),
        [("candidates.jsonl", 3, "its lists differ in length: ")],
    ),
    "candidates: no list": (
        table("candidates", QUERIES, QUERIES[0] | {"query_id": "q9", "docids": "d2"}),
        [("candidates.jsonl", 3, "`docids` must be a list, got 'd2'")],
    ),
    "candidates: one bad passage": (
        table("candidates", QUERIES, QUERIES[0] | {"query_id": "q9", "texts": ["text", 7]}),
        [("candidates.jsonl", 3, "`text` must be a string, got 7")],
    ),
    "candidates: the same row again": (
        table("candidates", QUERIES, QUERIES[0]),
        [("candidates.jsonl", 3, f"passage '{docid}' occurs twice for query 'q2'") for docid in ("d2", "d4")],
    ),
}
EVERY_BAD_ROW = pytest.mark.parametrize(("spoil", "expected"), BAD.values(), ids=BAD.keys())


@EVERY_BAD_ROW
def test_bad_row_goes_to_the_dead_letters_and_changes_no_unit(
    spoil: Callable[[Path], Options], expected: list[tuple[str, int | None, str]], tmp_path: Path
) -> None:
    files = spoil(tmp_path)
    plan = plan_of(tmp_path, **files, max_bad_rows=len(expected))
    letters = dead_letters_of(plan)
    assert plan.bad_rows == len(letters) == len(expected)
    for letter, (name, line, reason) in zip(letters, expected, strict=True):
        assert letter["file"] == str(tmp_path / name)
        assert letter.get("line") == line
        assert letter["reason"].startswith(reason)
        assert any(letter.get(whose) for whose in ("row", "query_id", "docid"))
    clean = plan_of(tmp_path / "clean", **write_files(tmp_path / "clean"))
    assert units_of(plan) == units_of(clean)
    assert not clean.dead_letters.exists()


@EVERY_BAD_ROW
def test_bad_row_over_the_limit_raises_and_leaves_no_files(
    spoil: Callable[[Path], Options], expected: list[tuple[str, int | None, str]], tmp_path: Path
) -> None:
    files = spoil(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    limit = len(expected) - 1
    with pytest.raises(TooManyBadRows) as caught:
        plan_of(tmp_path, **files, max_bad_rows=limit)
    name, line, reason = expected[-1]
    message = str(caught.value)
    if line is None:
        assert message.startswith(f"{tmp_path / name}: names ")
    else:
        assert message.startswith(f"{tmp_path / name}:{line}: {reason}")
    assert message.endswith(f"({len(expected)} bad so far, --max-bad-rows allows {limit})")
    assert "\n" not in message
    assert {path.name for path in tmp_path.iterdir()} == before


def test_bad_rows_of_all_files_are_counted_together(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    for role, line in (("run", "half a line"), ("queries", "{}"), ("corpus", "{}"), ("run", "q9 Q0 d1 1 1 t")):
        with files[role].open("a") as file:
            file.write(f"{line}\n")
    letters = dead_letters_of(plan_of(tmp_path, **files, max_bad_rows=4))
    names = ["run.trec", "queries.jsonl", "corpus.jsonl", "run.trec"]
    assert [letter["file"] for letter in letters] == [str(tmp_path / name) for name in names]
    with pytest.raises(TooManyBadRows, match=r"names 1 queries and 0 passages.*such as 'q9'.*\(4 bad so far"):
        plan_of(tmp_path, **files, max_bad_rows=3)


def test_dead_letters_hold_the_readable_part_of_a_row(tmp_path: Path) -> None:
    long = {"_id": "d6", "text": ["x"] * 10_000}
    lines: list[Row | bytes] = [{"_id": "d7", "text": None, "title": "é \ud83d"}, b"caf\xe9", b'["d8"]', long]
    files = into("corpus", *lines)(tmp_path)
    plan = plan_of(tmp_path, **files, max_bad_rows=4)
    first, second, third, last = (letter["row"] for letter in dead_letters_of(plan))
    assert first == '{"_id": "d7", "text": null, "title": "é \ud83d"}'
    assert second == "caf\ufffd\n"
    assert third == '["d8"]'
    assert last.startswith('{"_id": "d6", "text": ["x", "x", ')
    assert len(last) == 4_000
