"""Parquet: types, faults of rows and of whole files."""

import datetime as dt
import gzip
import io
import tracemalloc
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aparella.api.uploads import BadRow, Columns, Limits, Row, read_rows
from aparella.errors import InputError

LIMITS = Limits(max_bytes=1 << 26)
COLUMNS = Columns("id", ("name",))


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


WHOLE = parquet(id=[str(n) for n in range(100)], name=["ESTÈRIL"] * 100)


def read(
    data: bytes,
    columns: Columns = COLUMNS,
    *,
    limits: Limits = LIMITS,
    filename: str = "list.parquet",
) -> list[Row | BadRow]:
    return list(read_rows(io.BytesIO(data), filename=filename, columns=columns, limits=limits))


def refused(data: bytes, columns: Columns = COLUMNS, *, limits: Limits = LIMITS) -> InputError:
    with pytest.raises(InputError) as caught:
        read(data, columns, limits=limits)
    assert str(caught.value).startswith("list.parquet: ")
    return caught.value


def attribute(values: pa.Array) -> list[Any]:
    data = parquet(id=list(range(len(values))), name=["a"] * len(values), x=values)
    rows = read(data, Columns("id", ("name",), ("x",)))
    return [row.attributes["x"] for row in rows if isinstance(row, Row)]


def test_a_row_is_key_text_and_attributes() -> None:
    data = parquet(id=[1, 2], name=["BOSSA", "TUB"], more=[2.5, None], price=[9.5, None])
    columns = Columns("id", ("name", "more"), ("price",))
    assert read(data, columns) == [
        Row(1, "1", "BOSSA 2.5", {"price": 9.5}),
        Row(2, "2", "TUB", {"price": None}),
    ]


def test_the_first_bytes_tell_the_format() -> None:
    data = parquet(id=[1], name=["a"])
    assert read(data, filename="upload.csv") == [Row(1, "1", "a", {})]


def test_gzip_is_unpacked() -> None:
    data = gzip.compress(parquet(id=[1], name=["a"]))
    assert read(data, filename="list.parquet.gz") == [Row(1, "1", "a", {})]


def test_numbers_go_on_over_batches_and_row_groups() -> None:
    out = io.BytesIO()
    many = [str(n) for n in range(1, 10_001)]
    pq.write_table(pa.table({"id": many, "name": many}), out, row_group_size=3_000)
    assert [(row.number, row.key) for row in read(out.getvalue())] == [
        (n, str(n)) for n in range(1, 10_001)
    ]


def test_json_scalars_keep_their_types() -> None:
    assert attribute(pa.array([True, None])) == [True, None]
    assert attribute(pa.array([7, None])) == [7, None]
    assert attribute(pa.array([1.5, float("nan"), float("inf")])) == [1.5, None, None]
    assert attribute(pa.array(["a", ""]).dictionary_encode()) == ["a", ""]


def test_other_scalars_become_texts() -> None:
    day = dt.date(2024, 2, 29)
    assert attribute(pa.array([day])) == ["2024-02-29"]
    assert attribute(pa.array([dt.datetime(2024, 2, 29, 12, 30)])) == ["2024-02-29T12:30:00"]  # noqa: DTZ001
    assert attribute(pa.array([dt.time(12, 30)])) == ["12:30:00"]
    assert attribute(pa.array([Decimal("9.50")])) == ["9.50"]
    assert attribute(pa.array([dt.timedelta(hours=1)])) == ["1:00:00"]
    assert attribute(pa.array([b"a\xc3\x88"])) == ["aÈ"]


def test_moments_that_python_cannot_hold() -> None:
    fine = pa.array([1_709_209_800_000_000_001], pa.timestamp("ns"))
    far = pa.array([1 << 60], pa.timestamp("ms"))
    assert attribute(fine) == ["2024-02-29 12:30:00.000000001"]
    assert len(attribute(far)) == 1


@pytest.mark.parametrize(
    ("key", "text", "code", "field"),
    [
        (None, "a", "empty_key", "id"),
        ("7", None, "empty_text", "name"),
        ("7", "a\0", "nul_character", "name"),
        ("7", "x" * 65_537, "cell_too_long", "name"),
        ("k" * 513, "a", "key_too_long", "id"),
    ],
)
def test_a_bad_row_is_refused_alone(
    key: str | None, text: str | None, code: str, field: str
) -> None:
    rows = read(parquet(id=["1", key, "3"], name=["a", text, "c"]))
    assert [type(row) for row in rows] == [Row, BadRow, Row]
    row = rows[1]
    assert isinstance(row, BadRow)
    assert (row.number, row.code, row.field) == (2, code, field)


def test_a_text_that_is_not_utf_8_is_refused_alone() -> None:
    broken = pa.array([b"a", b"EST\xc9RIL"]).view(pa.string())
    for texts in (broken, broken.cast(pa.binary())):
        first, second = read(parquet(id=["1", "2"], name=texts))
        assert first == Row(1, "1", "a", {})
        assert isinstance(second, BadRow)
        assert "byte 0xC9 at column 'name' is not UTF-8" in second.message


@pytest.mark.parametrize("parameter", ["key", "text", "attribute"])
def test_a_nested_column(parameter: str) -> None:
    columns = {
        "key": Columns("tags", ("name",)),
        "text": Columns("id", ("tags",)),
        "attribute": Columns("id", ("name",), ("tags",)),
    }[parameter]
    error = refused(parquet(id=[1], name=["a"], tags=[["x"]]), columns)
    assert (error.code, error.field) == ("nested_column", parameter)
    assert "'tags' is nested" in str(error)


def test_a_nested_column_that_nobody_named() -> None:
    assert read(parquet(id=[1], name=["a"], tags=[["x"]])) == [Row(1, "1", "a", {})]


def test_a_dotted_name_is_a_name() -> None:
    data = parquet(**{"id": [1], "a": ["x"], "a.b": ["y"]})
    assert read(data, Columns("id", ("a",))) == [Row(1, "1", "x", {})]
    assert read(data, Columns("id", ("a.b",))) == [Row(1, "1", "y", {})]


def test_an_unknown_column_lists_those_that_exist() -> None:
    error = refused(parquet(id=[1], name=["a"]), Columns("id", ("title",)))
    assert (error.code, error.field) == ("unknown_column", "text")
    assert "It has 'id', 'name'." in str(error)


def test_a_column_twice() -> None:
    out = io.BytesIO()
    table = pa.Table.from_arrays([pa.array(["1"])] * 3, names=["id", "name", "name"])
    pq.write_table(table, out)
    assert refused(out.getvalue()).code == "duplicate_column"


def test_a_file_without_rows() -> None:
    empty = parquet(id=pa.array([], pa.string()), name=pa.array([], pa.string()))
    assert refused(empty).code == "empty_file"
    assert refused(b"").code == "empty_file"


@pytest.mark.parametrize("data", [b"id,name\n1,a\n", b"PAR1", b"PAR1" * 40, b"\0" * 100])
def test_what_is_no_parquet(data: bytes) -> None:
    assert refused(data).code == "not_parquet"


def test_a_parquet_cut_short_or_damaged() -> None:
    data = parquet(id=[str(n) for n in range(1_000)], name=["a"] * 1_000)
    assert refused(data[:-20]).code == "not_parquet"
    assert refused(data[:4] + b"\xff" * 200 + data[204:]).code == "not_parquet"
    assert refused(data.replace(b"name", b"n\xe1me")).code == "not_parquet"


@given(st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_damage(damage: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, byte in damage:
        data[place % len(data)] = byte
    try:
        rows = read(bytes(data))
    except InputError as error:
        str(error).encode()
    else:
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        for row in rows:
            (row.key or "").encode()
            (row.text if isinstance(row, Row) else row.message).encode()


def test_a_small_file_that_unpacks_to_too_much() -> None:
    data = parquet(id=[str(n) for n in range(1_000)], name=["a" * 50_000] * 1_000)
    limits = Limits(max_bytes=1_000_000)
    assert len(data) < limits.max_bytes
    assert refused(data, limits=limits).code == "too_large"


def test_the_upload_stays_open() -> None:
    file = io.BytesIO(parquet(id=[1], name=["a"]))
    for _ in range(2):
        assert list(read_rows(file, filename="x", columns=COLUMNS, limits=LIMITS))
    assert not file.closed


def test_a_text_that_many_rows_share_is_held_once() -> None:
    """A bomb that any writer makes: some kilobytes that say 8 GB."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 8_000), pa.array(["x" * 1_000_000]))
    data = parquet(id=[str(n) for n in range(8_000)], name=shared)
    assert len(data) < 200_000
    before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    assert refused(data, limits=Limits(max_bytes=1 << 30)).code == "too_large"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000
    assert pa.default_memory_pool().max_memory() - before < 50_000_000


def test_a_shared_text_within_the_limits_is_every_row_s() -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), pa.array(["BOSSA", "TUB"]))
    rows = read(parquet(id=["1", "2", "3", "4"], name=shared))
    assert [getattr(row, "text", None) for row in rows] == ["BOSSA", "TUB", None, "BOSSA"]
