"""csv and tsv: headers, quoting, and what is refused because it could be read in two ways."""

from pathlib import Path

import pytest

from reranker.errors import InvalidFile
from reranker.ir.tables import iter_records
from reranker.ir.texts import PASSAGES, QUERIES
from tests.reranker.ir.files import text_file


def passages(content: str, directory: Path, name: str = "a.tsv") -> list[tuple[int, str, str, str]]:
    rows = iter_records(text_file(directory, content, name), PASSAGES, bare=True)
    return [(line, row["_id"], row.get("title", ""), row["text"]) for line, row in rows]


def error(content: str, directory: Path, name: str = "a.tsv") -> str:
    with pytest.raises(InvalidFile) as caught:
        passages(content, directory, name)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(directory / name))


def test_ms_marco_tsv_keeps_its_quotes(tmp_path: Path) -> None:
    content = '0\t"Hello," he said\n1\t"quoted"\n2\t5" disk\n3\t"open\n4\t""twice""\n'
    assert passages(content, tmp_path) == [
        (1, "0", "", '"Hello," he said'),
        (2, "1", "", '"quoted"'),
        (3, "2", "", '5" disk'),
        (4, "3", "", '"open'),
        (5, "4", "", '""twice""'),
    ]


def test_dpr_tsv_is_unquoted_and_its_columns_are_not_swapped(tmp_path: Path) -> None:
    content = 'id\ttext\ttitle\n1\t"Aaron ( or ; ""Ahärôn"") is a prophet"\tAaron\n2\tHis 5" staff\t"A ""rod"""\n'
    assert passages(content, tmp_path) == [
        (2, "1", "Aaron", 'Aaron ( or ; "Ahärôn") is a prophet'),
        (3, "2", 'A "rod"', 'His 5" staff'),
    ]


def test_quoted_cell_may_span_lines_also_blank_ones_with_their_endings(tmp_path: Path) -> None:
    content = 'id,text\r\n1,"a\r\n\n\n b, ""c"""\r\n2,d\r\n'
    assert passages(content, tmp_path, "a.csv") == [(2, "1", "", 'a\r\n\n\n b, "c"'), (6, "2", "", "d")]


@pytest.mark.parametrize("header", ["ID\tTITLE\tTEXT", '"Id"\t"Title"\t"Text"', " id \ttitle\tText \r"])
def test_header_is_known_in_any_case_and_with_quotes_or_spaces(header: str, tmp_path: Path) -> None:
    assert passages(f"\ufeff\n{header}\n7\tb\ta\n", tmp_path) == [(3, "7", "b", "a")]


NO_HEADER = "columns and no header that says which is which, but "


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1\tA title\tA text\n", f":1: has 3 {NO_HEADER}'1\\tA title\\tA text': put a first line there with"),
        ("1\turl\ttitle of it\ttext of it\n", f":1: has 4 {NO_HEADER}"),
        ("only a text\n", f":1: has 1 {NO_HEADER}"),
        ("doc_key\tbody_of_it\n1\ta\n", f":1: has 2 {NO_HEADER}"),
        ("A text first\t1\n", f":1: has 2 {NO_HEADER}"),
        ("\n\n1\ta\tb\n", f":3: has 3 {NO_HEADER}"),
        ("docnum\ttext\n1\ta\n", ":1: has no `_id` or `id` or "),
        ("id\ttext\ttext\n1\ta\tb\n", ":1: has 'text' and 'text', and only one can be the `text`"),
    ],
)
def test_tsv_that_may_mean_two_things_is_refused(content: str, problem: str, tmp_path: Path) -> None:
    assert error(content, tmp_path).startswith(problem)


@pytest.mark.parametrize("content", ["1,a text\n", "1,a,b\n", "id;text\n1;a\n"])
def test_csv_without_known_columns_is_refused(content: str, tmp_path: Path) -> None:
    assert NO_HEADER in error(content, tmp_path, "a.csv")


def test_query_named_like_a_column_does_not_make_a_header(tmp_path: Path) -> None:
    rows = iter_records(text_file(tmp_path, "7\ttext\n8\tquery\n", "q.tsv"), QUERIES, bare=True)
    assert list(rows) == [(1, {"_id": "7", "text": "text"}), (2, {"_id": "8", "text": "query"})]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ('1,"a\n2,b\n', ":2: has a quote that is not closed"),
        ('1,"a"b\n', ":2: has text after a closing quote, at 'b\\n'"),
        ('1,"Hello," he said\n', ":2: has text after a closing quote"),
        ('1, "a"\n', ":2: has a space before a quote"),
        ("1\n", ":2: has 1 columns where 2 are expected: _id text"),
        ('"1","a","b"\n', ":2: has 3 columns where 2 are expected"),
        ('2,b\n\n1,"a\n\n', ":4: has a quote that is not closed"),
    ],
)
def test_row_that_is_not_csv_is_refused_by_line(rows: str, problem: str, tmp_path: Path) -> None:
    assert error(f"id,text\n{rows}", tmp_path, "a.csv").startswith(problem)


def test_two_raw_rows_of_tsv_are_not_taken_for_one_quoted_cell(tmp_path: Path) -> None:
    problem = ":2: has a quote that is not closed on its line"
    assert error('id\ttext\n5\t"Hello\n6\tbye"\n', tmp_path).startswith(problem)


def test_bad_rows_are_reported_and_the_next_row_is_read(tmp_path: Path) -> None:
    path = text_file(tmp_path, 'id,text\n1,"a"b\n2\n"3","c"\n4,"a\nb"c\n5,"d"\n', "a.csv")
    bad: list[InvalidFile] = []
    rows = list(iter_records(path, PASSAGES, lambda error, row: bad.append(error)))
    assert rows == [(4, {"_id": "3", "text": "c"}), (7, {"_id": "5", "text": "d"})]
    assert [error.line for error in bad] == [2, 3, 5]


def test_line_that_is_not_utf8_inside_a_quoted_cell_ends_the_reading(tmp_path: Path) -> None:
    """Its row's text would lack a line, and where the row ends is not known."""
    path = text_file(tmp_path, b'id,text\n1,"a\ncaf\xe9\nb"\n', "a.csv")
    with pytest.raises(InvalidFile, match=":2: has a quote that is not closed"):
        list(iter_records(path, PASSAGES, lambda error, row: None))
