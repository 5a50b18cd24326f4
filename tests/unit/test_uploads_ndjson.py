"""NDJSON: what is accepted, which lines are refused and why, and what refuses the whole file."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.api.uploads import BadRow, Columns, Limits, Row, read_rows
from aparella.errors import InputError

LIMITS = Limits(max_bytes=1 << 26)
COLUMNS = Columns("id", ("name",))
GOOD = '{"id": 1, "name": "a"}\n'


def read(data: str | bytes, columns: Columns = COLUMNS) -> list[Row | BadRow]:
    file = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(read_rows(file, filename="list.ndjson", columns=columns, limits=LIMITS))


def refused(data: str, columns: Columns = COLUMNS) -> InputError:
    with pytest.raises(InputError) as caught:
        read(data, columns)
    return caught.value


def test_scalars_become_texts_and_attributes_keep_their_types() -> None:
    columns = Columns("id", ("name", "size"), ("price", "stock", "sterile", "unit", "gone"))
    data = (
        '{"id": 5, "name": true, "size": 1.5, "price": 9.5, "stock": 3, "sterile": false, '
        '"unit": "u", "gone": null}\n\n  \r\n'
        '{"id": "x", "name": "b", "price": 1e999}\n'
    )
    nothing = dict.fromkeys(columns.attributes)
    assert read(data, columns) == [
        Row(
            1,
            "5",
            "true 1.5",
            {"price": 9.5, "stock": 3, "sterile": False, "unit": "u", "gone": None},
        ),
        Row(4, "x", "b", {**nothing}),
    ]


def test_escapes_are_read() -> None:
    data = GOOD + r'{"id": 2, "name": "EST\u00c8RIL \ud83d\ude00"}'
    assert read(data)[1] == Row(2, "2", "ESTÈRIL 😀", {})


def test_a_byte_order_mark_is_removed() -> None:
    assert read("\ufeff" + GOOD) == [Row(1, "1", "a", {})]


@pytest.mark.parametrize(
    ("line", "code", "field", "key", "words"),
    [
        ("{oops", "bad_json", None, None, "at character 2"),
        ("[1, 2]", "bad_json", None, None, "not an object"),
        ('{"id": NaN, "name": "a"}', "bad_json", None, None, "NaN"),
        ('{"id": 7, "name": -Infinity}', "bad_json", None, None, "infinity"),
        ('{"id": ' + "9" * 5_000 + "}", "bad_json", None, None, "too many digits"),
        ('{"id": ' + "[" * 100_000, "bad_json", None, None, "too deeply"),
        ('{"name": "a"}', "missing_field", "id", None, "'id', the key"),
        ('{"id": 7}', "missing_field", "name", "7", "'name', the text"),
        ('{"id": 7, "name": ["a"]}', "not_text", "name", "7", "list or an object"),
        ('{"id": {}, "name": "a"}', "not_text", "id", None, "list or an object"),
        ('{"id": null, "name": "a"}', "empty_key", "id", None, "'id' is blank"),
        ('{"id": 7, "name": null}', "empty_text", "name", "7", "'name' is blank"),
        (r'{"id": 7, "name": "a\u0000"}', "nul_character", "name", "7", "NUL"),
        (r'{"id": 7, "name": "a\ud800"}', "undecodable", "name", "7", "U+D800"),
        (r'{"id": 7, "name": "a\udcc9"}', "undecodable", "name", "7", "U+DCC9"),
        ('{"id": 7, "name": "%s"}' % ("x" * 65_537), "cell_too_long", "name", "7", "65,537"),
        ('{"id": "%s", "name": "a"}' % ("k" * 513), "key_too_long", "id", None, "513"),
    ],
)
def test_a_bad_line_is_refused_alone(
    line: str, code: str, field: str | None, key: str | None, words: str
) -> None:
    rows = read(f"{GOOD}{line}\n{GOOD}")
    assert [type(row) for row in rows] == [Row, BadRow, Row]
    row = rows[1]
    assert isinstance(row, BadRow)
    assert (row.number, row.code, row.field, row.key) == (2, code, field, key)
    assert words in row.message


def test_a_bad_first_line_is_refused_alone() -> None:
    assert [type(row) for row in read('{"id": NaN}\n' + GOOD)] == [BadRow, Row]


def test_an_undecodable_byte_is_told_from_an_escape() -> None:
    row = read(GOOD.encode() + b'{"id": 2, "name": "EST\xc9RIL"}')[1]
    assert isinstance(row, BadRow)
    assert row.message.startswith("byte 0xC9 at column 'name' is not UTF-8")


def test_a_nested_attribute_is_refused() -> None:
    row = read('{"id": 1, "name": "a", "tags": []}', Columns("id", ("name",), ("tags",)))[0]
    assert isinstance(row, BadRow)
    assert (row.code, row.field, row.key) == ("not_scalar", "tags", "1")


@pytest.mark.parametrize("data", ["[\n" + GOOD, "1\n", "id,name\n1,a\n", "{\n"])
def test_a_first_line_that_is_no_object(data: str) -> None:
    error = refused(data)
    assert error.code == "not_ndjson"
    assert str(error).startswith("list.ndjson: line 1 ")


@pytest.mark.parametrize("data", ["", "\n", " \r\n\n"])
def test_an_empty_file(data: str) -> None:
    assert refused(data).code == "empty_file"


def test_a_field_that_no_line_has_is_a_misspelt_name() -> None:
    error = refused(GOOD * 3, Columns("id", ("name",), ("naem",)))
    assert (error.code, error.field) == ("unknown_column", "attribute")
    assert "no line has a field 'naem'. It has 'id', 'name'." in str(error)
    assert "Did you mean 'name'?" in str(error)


def test_a_field_that_some_line_has_is_not() -> None:
    data = GOOD + '{"id": 2, "name": "b", "unit": "u"}\n'
    assert [row.attributes for row in read(data, Columns("id", ("name",), ("unit",)))] == [  # type: ignore[union-attr]
        {"unit": None},
        {"unit": "u"},
    ]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
filled = texts.filter(lambda text: bool(text.strip()))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)


@given(
    st.lists(st.tuples(filled.filter(lambda k: len(k) < 500), filled, scalars), min_size=1),
    st.booleans(),
)
def test_whatever_is_written_is_read(
    table: list[tuple[str, str, str | float | None]], ascii_only: bool
) -> None:
    lines = [
        json.dumps({"id": key, "name": text, "extra": extra}, ensure_ascii=ascii_only)
        for key, text, extra in table
    ]
    rows = read("\n".join(lines), Columns("id", ("name",), ("extra",)))
    assert rows == [
        Row(number, key, text, {"extra": extra})
        for number, (key, text, extra) in enumerate(table, 1)
    ]
