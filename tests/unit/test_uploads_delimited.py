"""CSV: what is accepted, which rows are refused and why, and what refuses the whole file."""

import csv
import gzip
import io
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.api.uploads import BadRow, Columns, Limits, Row, read_rows
from aparella.errors import InputError

LIMITS = Limits(max_bytes=1 << 26)
COLUMNS = Columns("id", ("name",))


def read(
    data: bytes | str,
    columns: Columns = COLUMNS,
    *,
    filename: str = "list.csv",
    delimiter: str | None = None,
    encoding: str | None = None,
    limits: Limits = LIMITS,
) -> Iterator[Row | BadRow]:
    file = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return read_rows(
        file,
        filename=filename,
        columns=columns,
        delimiter=delimiter,
        encoding=encoding,
        limits=limits,
    )


def refused(data: bytes | str, columns: Columns = COLUMNS, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        list(read(data, columns, **options))  # type: ignore[arg-type]
    return caught.value


def bad(data: bytes | str, columns: Columns = COLUMNS, **options: object) -> BadRow:
    """Return the one refused row; the file's others, if any, must have been accepted."""
    rows = [r for r in read(data, columns, **options) if isinstance(r, BadRow)]  # type: ignore[arg-type]
    assert len(rows) == 1
    return rows[0]


def test_a_row_is_key_text_and_attributes() -> None:
    columns = Columns("id", ("name", "description"), ("price", "unit"))
    data = "id,name,description,price,unit\n1,BOSSA,de plàstic,9.5,\n2,TUB, ,3,u\n"
    assert list(read(data, columns)) == [
        Row(2, "1", "BOSSA de plàstic", {"price": "9.5", "unit": None}),
        Row(3, "2", "TUB", {"price": "3", "unit": "u"}),
    ]


def test_text_is_kept_as_it_stands() -> None:
    assert list(read("id,name\n 7 ,  XERINGA  150ML \n")) == [
        Row(2, " 7 ", "  XERINGA  150ML ", {})
    ]


def test_one_column_may_be_key_text_and_attribute() -> None:
    assert list(read("a\nx\n", Columns("a", ("a",), ("a",)))) == [Row(2, "x", "x", {"a": "x"})]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_numbers_are_the_lines_of_an_editor(end: str) -> None:
    lines = ["id,name", "1,a", "", '2,"b', "", 'c"', "  ", "3,d"]
    rows = list(read(end.join(lines)))
    assert [(row.number, row.key) for row in rows] == [(2, "1"), (4, "2"), (8, "3")]
    assert isinstance(rows[1], Row)
    assert rows[1].text == f"b{end}{end}c"


def test_a_header_may_come_late_and_be_spaced() -> None:
    assert list(read("\n\n id , name \n1,a\n")) == [Row(4, "1", "a", {})]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str) -> None:
    data = '"id",name\n1,ESTÈRIL €\n'.encode(encoding)
    assert list(read(data)) == [Row(2, "1", "ESTÈRIL €", {})]


@pytest.mark.parametrize(
    ("named", "codec"),
    [
        ("latin-1", "latin-1"),
        ("CP1252", "cp1252"),
        ("utf-8", "utf-8-sig"),
        ("UTF_8_SIG", "utf-8-sig"),
        ("utf-16-le", "utf-16-le"),
        ("mac-roman", "mac-roman"),
    ],
)
def test_an_encoding_can_be_named(named: str, codec: str) -> None:
    data = "id,name\n1,ESTÈRIL\n".encode(codec)
    assert list(read(data, encoding=named)) == [Row(2, "1", "ESTÈRIL", {})]


@pytest.mark.parametrize(
    ("delimiter", "filename", "cut"),
    [(";", "a.csv", ";"), ("tab", "a.csv", "\t"), (r"\t", "a", "\t"), (None, "a.TSV.gz", "\t")],
)
def test_a_delimiter_can_be_named(delimiter: str | None, filename: str, cut: str) -> None:
    data = gzip.compress(f"id{cut}name\n1{cut}a,b\n".encode())
    rows = list(read(data, filename=filename, delimiter=delimiter))
    assert rows == [Row(2, "1", "a,b", {})]


def test_a_stray_quote_within_a_line_is_read_as_spreadsheets_do() -> None:
    data = 'id,name\n1,"TUB" 20CM\n2,TUB 5" x 3"\n3,c'
    assert [row.text for row in read(data) if isinstance(row, Row)] == [
        "TUB 20CM",
        'TUB 5" x 3"',
        "c",
    ]


def test_a_quote_left_open_costs_the_lines_it_swallowed_and_no_more() -> None:
    rows = list(read('id,name\n1,"TUB\n2,b\n3,"c"\n4,d\n'))
    assert rows[1:] == [Row(5, "4", "d", {})]
    assert isinstance(rows[0], BadRow)
    assert (rows[0].number, rows[0].code) == (2, "misplaced_quote")
    assert "lines 2 to 4" in rows[0].message


def test_a_stray_quote_that_reopens_is_refused_alone() -> None:
    rows = list(read('id,name,x\n1,"a" b,"c\n2,d,e\n'))
    assert isinstance(rows[0], BadRow)
    assert rows[1:] == [Row(3, "2", "d", {})]


@pytest.mark.parametrize(
    ("line", "code", "field", "key", "words"),
    [
        ("7,a,b", "ragged_row", None, "7", "has 3 cells where the header has 2"),
        ("7", "ragged_row", None, "7", "has 1 cell where the header has 2"),
        (" ,a", "empty_key", "id", None, "'id' is blank"),
        ("7, ", "empty_text", "name", "7", "'name' is blank"),
        ("7,a\0b", "nul_character", "name", "7", "'name' holds a NUL"),
        ("\0,a", "nul_character", "id", None, "'id' holds a NUL"),
        ("7," + "x" * 65_537, "cell_too_long", "name", "7", "65,537 characters"),
        ("k" * 513 + ",a", "key_too_long", "id", None, "513 characters"),
    ],
)
def test_a_bad_row_is_refused_alone(
    line: str, code: str, field: str | None, key: str | None, words: str
) -> None:
    rows = list(read(f"id,name\n1,a\n{line}\n3,c\n"))
    assert [row.number for row in rows] == [2, 3, 4]
    assert [type(row) for row in rows] == [Row, BadRow, Row]
    row = rows[1]
    assert isinstance(row, BadRow)
    assert (row.code, row.field, row.key) == (code, field, key)
    assert words in row.message


def test_the_longest_key_and_cell_are_accepted() -> None:
    assert len(list(read(f"id,name\n{'k' * 512},{'x' * 65_536}\n"))) == 1
    assert isinstance(next(read(f"id,name\n{'k' * 512},{'x' * 65_536}\n")), Row)


def test_faults_in_columns_that_are_not_named_do_not_matter() -> None:
    data = b"id,name,other\n1,a,\xc9\0" + b"x" * 70_000 + b"\n"
    assert list(read(data)) == [Row(2, "1", "a", {})]


def test_several_blank_text_columns_are_named() -> None:
    row = bad("id,name,more\n1,,\n", Columns("id", ("name", "more")))
    assert "'name', 'more' are all blank" in row.message


def test_an_undecodable_byte_names_itself_and_the_way_out() -> None:
    row = bad(b"id,name\n1,a\n2,EST\xc9RIL\n3,\xc3\x88\n")
    assert (row.number, row.key, row.field, row.code) == (3, "2", "name", "undecodable")
    assert row.message == (
        "byte 0xC9 at column 'name' is not UTF-8: save the file as UTF-8 or pass --encoding latin-1"
    )


def test_an_undecodable_byte_of_a_named_encoding() -> None:
    row = bad(b"id,name\n1,a\x81\n", encoding="cp1252")
    assert "byte 0x81 at column 'name' is not cp1252" in row.message


def test_half_a_character_of_utf_16() -> None:
    data = "id,name\n1,a\ud800b\n2,c\n".encode("utf-16", "surrogatepass")
    assert "U+D800" in bad(data).message


def test_utf_16_cut_within_a_character() -> None:
    error = refused("id,name\n1,a\n".encode("utf-16")[:-1])
    assert (error.code, error.field) == ("undecodable", "encoding")


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_without_its_mark_is_told(order: str) -> None:
    error = refused("id,name\n1,a\n".encode(f"utf-16-{order}"))
    assert f"--encoding utf-16-{order}" in str(error)


@pytest.mark.parametrize(
    "encoding", ["klingon", "rot13", "hex", "idna", "undefined", "unicode_escape", "", "a\0b"]
)
def test_an_unknown_encoding(encoding: str) -> None:
    error = refused("id,name\n1,a\n", encoding=encoding)
    assert (error.code, error.field) == ("unknown_encoding", "encoding")


@pytest.mark.parametrize("delimiter", ["", "||", '"', "\n", "\0", "\ud800"])
def test_what_cannot_be_a_delimiter(delimiter: str) -> None:
    error = refused("id,name\n1,a\n", delimiter=delimiter)
    assert (error.code, error.field) == ("bad_delimiter", "delimiter")


@pytest.mark.parametrize("data", ["", "\ufeff", "\n \n", "id,name", "id,name\n\n \n", ",\n"])
def test_an_empty_file(data: str) -> None:
    error = refused(data)
    assert error.code == "empty_file"
    assert str(error).startswith("list.csv: ")


@pytest.mark.parametrize(
    ("columns", "field", "column"),
    [
        (Columns("key", ("name",)), "key", "key"),
        (Columns("id", ("name", "nam")), "text", "nam"),
        (Columns("id", ("name",), ("price",)), "attribute", "price"),
    ],
)
def test_an_unknown_column_lists_those_that_exist(
    columns: Columns, field: str, column: str
) -> None:
    error = refused("id,name\n1,a\n", columns)
    assert (error.code, error.field) == ("unknown_column", field)
    assert f"list.csv: the header has no column '{column}'. It has 'id', 'name'." in str(error)


def test_a_misspelt_column_is_recognised() -> None:
    error = refused("id,Name\n1,a\n")
    assert "Did you mean 'Name'?" in str(error)


@pytest.mark.parametrize(("other", "shown"), [(c, f"'{c}'") for c in ";|#%"] + [("\t", "tab")])
def test_the_wrong_delimiter(other: str, shown: str) -> None:
    error = refused(f"id{other}name\n1{other}a, b\n")
    assert (error.code, error.field) == ("wrong_delimiter", "delimiter")
    assert str(error) == (
        "list.csv: the header has no column 'id' when cut by ',': "
        f"it looks cut by {shown}. Pass --delimiter {shown}."
    )


def test_a_column_twice_in_the_header() -> None:
    error = refused("id,name,name\n1,a,b\n")
    assert (error.code, error.field) == ("duplicate_column", "text")
    assert "2 columns named 'name'" in str(error)


def test_a_column_twice_that_nobody_named() -> None:
    assert list(read("id,name,,\n1,a,,\n")) == [Row(2, "1", "a", {})]


def test_too_many_columns() -> None:
    header = "id,name," + ",".join(f"c{n}" for n in range(999))
    error = refused(f"{header}\n")
    assert error.code == "too_many_columns"
    assert "1,001" in str(error)


@pytest.mark.parametrize("columns", [Columns("", ("a",)), Columns("a", ()), Columns("a", ("",))])
def test_no_column_named(columns: Columns) -> None:
    assert refused("a\n1\n", columns).code == "missing_column"


def test_a_quote_never_closed_tells_its_line() -> None:
    error = refused('id,name\n1,a\n2,"b\n3,c\n')
    assert error.code == "unclosed_quote"
    assert "begins on line 3 " in str(error)


def test_a_quote_never_closed_in_the_header() -> None:
    error = refused('id,"name\n1,a\n')
    assert error.code == "unclosed_quote"
    assert "begins on line 1 " in str(error)


def test_a_quote_over_16_mi_is_not_read_to_the_end_of_the_file() -> None:
    row = b"3," + b"c" * 998 + b"\n"
    file = io.BytesIO(b'id,name\n1,a\n2,"b\n' + row * 40_000)
    rows = read_rows(file, filename="list.csv", columns=COLUMNS, limits=LIMITS)
    assert next(rows).key == "1"
    with pytest.raises(InputError, match=r"begins on line 3 ") as caught:
        list(rows)
    assert caught.value.code == "unclosed_quote"
    assert file.tell() < 20_000_000


def test_a_line_without_an_end_is_not_read_to_the_end_of_the_file() -> None:
    file = io.BytesIO(b"id,name\n1," + b"c" * 40_000_000)
    with pytest.raises(InputError, match="line 2 is over") as caught:
        list(read_rows(file, filename="list.csv", columns=COLUMNS, limits=LIMITS))
    assert caught.value.code == "unclosed_quote"
    assert file.tell() < 20_000_000


def test_a_cell_of_10_mb_is_refused_alone() -> None:
    assert bad("id,name\n1," + "x" * 10_000_000 + "\n2,b\n").code == "cell_too_long"


def test_reading_is_lazy() -> None:
    file = io.BytesIO(b"id,name\n" + b"1,a\n" * 1_000_000)
    rows = read_rows(file, filename="list.csv", columns=COLUMNS, limits=LIMITS)
    next(rows)
    assert file.tell() < 500_000


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
filled = cells.filter(lambda cell: bool(cell.strip()))


@given(
    st.lists(st.tuples(filled.filter(lambda c: len(c) < 500), filled, cells), min_size=1),
    st.sampled_from(",;|\t#%"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_whatever_is_written_is_read(
    table: list[tuple[str, str, str]], delimiter: str, quoting: Literal[0, 1]
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting)
    writer.writerows([("id", "name", "extra"), *table])
    rows = list(read(out.getvalue(), Columns("id", ("name",), ("extra",)), delimiter=delimiter))
    expected = [
        (key, text, {"extra": extra if extra.strip() else None}) for key, text, extra in table
    ]
    assert [(r.key, r.text, r.attributes) for r in rows if isinstance(r, Row)] == expected
