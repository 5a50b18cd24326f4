"""Answers of queries as files."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from aparella.client import answers


@dataclass
class Column:
    name: str
    kind: str = "text"


@pytest.mark.parametrize(("raw", "shown"), [(False, "'=1+1"), (True, "=1+1")])
def test_a_query_s_csv_runs_no_formula(raw: bool, shown: str) -> None:
    file = io.BytesIO()
    blocks = iter([[("=1+1", -5, -0.5, None)], [("-5", 5, 1.5, None)]])
    columns = [Column("text"), Column("n"), Column("x"), Column("none")]
    assert answers.write(file, Path("a.csv"), columns, blocks, raw=raw) == 2
    assert file.getvalue().decode().split("\r\n") == [
        "text,n,x,none",
        f"{shown},-5,-0.5,",
        "-5,5,1.5,",
        "",
    ]
