"""The bytes of an upload: gzip, limits, and telling the format."""

import gzip
import io
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aparella.api.uploads import BadRow, Columns, Limits, Row, read_rows
from aparella.errors import InputError

LIMITS = Limits(max_bytes=1 << 24)
COLUMNS = Columns("id", ("name",), ("extra",))
CSV = b"id,name,extra\n" + b"".join(b"%d,text %d,\n" % (n, n * 7919) for n in range(20_000))


def read(
    data: bytes,
    *,
    filename: str = "list.csv.gz",
    named: str | None = None,
    limits: Limits = LIMITS,
) -> list[Row | BadRow]:
    file = io.BytesIO(data)
    rows = list(read_rows(file, filename=filename, columns=COLUMNS, format=named, limits=limits))
    assert not file.closed
    return rows


def refused(data: bytes, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read(data, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("filename", ["list.csv.gz", "list.csv", "upload", ""])
def test_gzip_is_told_by_its_first_bytes(filename: str) -> None:
    assert read(gzip.compress(CSV), filename=filename) == read(CSV, filename="list.csv")


def test_gzip_in_several_members() -> None:
    half = len(CSV) // 2
    assert len(read(gzip.compress(CSV[:half]) + gzip.compress(CSV[half:]))) == 20_000


def test_a_gzip_cut_short_is_told_after_its_last_row() -> None:
    packed = gzip.compress(CSV)
    file = io.BytesIO(packed[:-1_000])
    rows = read_rows(file, filename="list.csv.gz", columns=COLUMNS, limits=LIMITS)
    assert next(rows).number == 2
    with pytest.raises(InputError, match=r"list\.csv\.gz: .*cut short") as caught:
        list(rows)
    assert caught.value.code == "truncated_gzip"


@pytest.mark.parametrize("length", [2, 9, 20])
def test_a_gzip_of_a_few_bytes(length: int) -> None:
    assert refused(gzip.compress(CSV)[:length]).code == "truncated_gzip"


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8bnot gzip at all",
        gzip.compress(CSV, mtime=0) + b"junk",
        CSV,
        b"\x1f\x8b\x08\0" + b"\xff" * 99,
    ],
)
def test_what_is_no_gzip(data: bytes) -> None:
    assert refused(data).code == "not_gzip"


def test_gzip_with_a_wrong_checksum() -> None:
    packed = bytearray(gzip.compress(CSV))
    packed[-6] ^= 0xFF
    assert refused(bytes(packed)).code == "not_gzip"


@pytest.mark.parametrize("data", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file(data: bytes) -> None:
    assert refused(data).code == "empty_file"


def test_a_file_over_the_limit() -> None:
    exact = Limits(max_bytes=len(CSV))
    short = Limits(max_bytes=len(CSV) - 1)
    for data, filename in ((CSV, "list.csv"), (gzip.compress(CSV), "list.csv.gz")):
        assert len(read(data, filename=filename, limits=exact)) == 20_000
        assert refused(data, filename=filename, limits=short).code == "too_large"


def test_a_bomb_is_left_early() -> None:
    bomb = gzip.compress(b"id,name,extra\n" + b"1,a,\n" * 10_000_000)
    assert len(bomb) < 200_000
    assert refused(bomb, limits=Limits(max_bytes=1_000_000)).code == "too_large"


@pytest.mark.parametrize("filename", ["a.ndjson", "a.jsonl.gz", "A.JSONL", "upload", "a.json"])
def test_ndjson_is_told_by_name_or_first_bytes(filename: str) -> None:
    data = b'{"id": 1, "name": "a", "extra": 2}\n'
    packed = gzip.compress(data) if filename.endswith(".gz") else data
    assert read(packed, filename=filename) == [Row(1, "1", "a", {"extra": 2})]


def test_a_format_can_be_named() -> None:
    assert read(b"id,name,extra\n1,a,\n", filename="a.jsonl", named="csv")
    assert refused(CSV, filename="a.csv", named="ndjson").code == "not_ndjson"
    assert refused(CSV, filename="a.csv", named="parquet").code == "not_parquet"
    assert refused(CSV, filename="a.csv", named="xlsx").code == "unknown_format"


@pytest.mark.parametrize("data", [b"PK\x03\x04...", b"PAR1...", gzip.compress(CSV, mtime=0)])
def test_what_is_no_text(data: bytes) -> None:
    assert refused(gzip.compress(data), named="csv").code == "not_text_file"


def test_the_name_is_shown_fit_to_print() -> None:
    assert str(refused(b"", filename="a\0\n\ud800" + "x" * 999)).startswith("a???xxx")
    assert str(refused(b"", filename=" ")).startswith("the file: ")


def check_whatever_happens(
    data: bytes, filename: str, encoding: str | None, columns: Columns
) -> None:
    """Any bytes give rows that can be stored, or an error that can be shown."""
    shown: list[str | None] = []
    numbers = [0]
    try:
        for row in read_rows(
            io.BytesIO(data), filename=filename, columns=columns, encoding=encoding, limits=LIMITS
        ):
            numbers.append(row.number)
            if isinstance(row, Row):
                assert row.key.strip()
                assert row.text.strip()
                shown += [row.key, row.text]
                shown += [value for value in row.attributes.values() if isinstance(value, str)]
            else:
                shown += [row.key, row.field, row.message, row.code]
    except InputError as error:
        shown += [str(error), error.field, error.code]
    for text in shown:
        if text is not None:
            text.encode()
            assert "\0" not in text
    assert all(a < b for a, b in itertools.pairwise(numbers))


WORDS = (
    b'id name extra 1 , ; " "" { } : [ "id": "name": "a" NaN \\ud800 PAR1 id,name,extra 1,a,b 2,"a '
    b'{"id":1,"name":"a","extra":2}'
).split()
BYTES = [b" ", b"\n", b"\r\n", b"\r", b"\0", b"\xc9", b"\xc3\x88", b"\xed\xa0\x80"]
MARKS = [b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b"]
pieces = st.sampled_from([*WORDS, *BYTES, *MARKS])
filenames = st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a", "a.csv.gz"])
encodings = st.sampled_from([None, None, "latin-1", "cp1252", "utf-16", "utf-7", "gbk", "utf-32"])


@given(
    st.binary(max_size=300) | st.lists(pieces).map(b"".join), filenames, encodings, st.booleans()
)
@example(b"id,name,extra\n1,\xc9,\n2,b\n", "a.csv", None, False)
def test_any_bytes(data: bytes, filename: str, encoding: str | None, packed: bool) -> None:
    data = gzip.compress(data) if packed else data
    check_whatever_happens(data, filename, encoding, COLUMNS)


@given(st.lists(pieces).map(b"".join), encodings)
def test_any_bytes_after_a_header(data: bytes, encoding: str | None) -> None:
    codec = encoding or "utf-8"
    check_whatever_happens("id,name,extra\n".encode(codec) + data, "a.csv", encoding, COLUMNS)


@given(st.text(), st.text(), st.text(), st.text())
def test_any_names(key: str, text: str, filename: str, header: str) -> None:
    data = header.encode("utf-8", "surrogatepass") + b"\n1,2,3\n"
    check_whatever_happens(data, filename, None, Columns(key, (text,)))


@pytest.mark.parametrize("format_", ["csv", "ndjson", "parquet"])
def test_more_rows_than_the_limit(format_: str) -> None:
    # Refused rows count as well: their reasons are stored.
    rows = [{"id": str(n), "name": "TUB" if n else "", "extra": "x"} for n in range(10)]
    out = io.BytesIO()
    if format_ == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), out)
    elif format_ == "ndjson":
        out.writelines(json.dumps(row).encode() + b"\n" for row in rows)
    else:
        out.writelines([b"id,name,extra\n", *(",".join(r.values()).encode() + b"\n" for r in rows)])
    name = f"list.{format_}"
    most = Limits(max_bytes=1 << 20, max_rows=10)
    assert len(read(out.getvalue(), filename=name, limits=most)) == 10
    error = refused(out.getvalue(), filename=name, limits=Limits(max_bytes=1 << 20, max_rows=9))
    assert (error.code, "9 rows" in str(error)) == ("too_many_rows", True)
