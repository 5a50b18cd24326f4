"""The contract of schema `report`: what it holds is written down, and a change needs a version.

To change it: raise `reporting.VERSION`, write the note in docs/reports.md ("Versions"), and renew
the file with `APARELLA_WRITE_CONTRACT=1 pytest tests/integration/test_report_contract.py`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aparella.db import reporting

CONTRACT = Path(__file__).parent / "report_contract.json"
NOTES = Path(__file__).parents[2] / "docs" / "reports.md"
RELATIONS = sa.text("""
    SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
           col_description(c.oid, a.attnum) AS comment
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'report'::regnamespace AND c.relkind IN ('v', 'm', 'c', 'r')
    ORDER BY c.relname, a.attnum
""")
FUNCTIONS = sa.text("""
    SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments,
           pg_get_function_result(p.oid) AS result, p.provolatile::text AS volatility,
           p.proparallel::text AS parallel, p.prosecdef AS definer,
           array_to_string(p.proconfig, '; ') AS settings,
           obj_description(p.oid, 'pg_proc') AS comment
    FROM pg_proc p WHERE p.pronamespace = 'report'::regnamespace ORDER BY 1, 2
""")


def live(connection: sa.Connection) -> dict[str, Any]:
    views: dict[str, dict[str, str]] = {}
    for row in connection.execute(RELATIONS):
        kind = "type " if row.relkind == "c" else ""
        views.setdefault(kind + row.relname, {})[row.attname] = row.type
    functions = {
        f"{row.proname}({row.arguments})": row.result for row in connection.execute(FUNCTIONS)
    }
    return {"version": reporting.VERSION, "functions": functions, "relations": views}


def digest(contract: dict[str, Any]) -> str:
    text = json.dumps({**contract, "version": 0}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_the_contract_is_the_one_that_was_written_down(db: sa.Engine) -> None:
    with db.connect() as connection:
        found = live(connection)
    if os.environ.get("APARELLA_WRITE_CONTRACT"):
        CONTRACT.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    assert found == json.loads(CONTRACT.read_text()), "read this file's first lines"


def test_every_version_has_a_note(db: sa.Engine) -> None:
    contract = json.loads(CONTRACT.read_text())
    line = f"| {contract['version']} | `{digest(contract)}` |"
    assert line in NOTES.read_text(), f"docs/reports.md has no note that begins with {line}"
    with db.connect() as connection:
        version = connection.execute(sa.text("SELECT contract_version FROM report.about")).scalar()
    assert version == contract["version"] == reporting.VERSION


def test_everything_is_described(db: sa.Engine) -> None:
    with db.connect() as connection:
        columns = connection.execute(RELATIONS).all()
        functions = connection.execute(FUNCTIONS).all()
        views = connection.execute(
            sa.text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'report'::regnamespace "
                "AND relkind = 'v' AND obj_description(oid, 'pg_class') IS NULL"
            )
        ).all()
    assert [f"{c.relname}.{c.attname}" for c in columns if not c.comment] == []
    assert [f.proname for f in functions if not f.comment] == []
    assert views == []
    assert len(functions) == 7


def test_functions_are_what_report_tools_need(db: sa.Engine) -> None:
    with db.connect() as connection:
        functions = connection.execute(FUNCTIONS).all()
    for function in functions:
        assert function.definer, function.proname
        assert "search_path=pg_catalog, " in function.settings, function.proname
        assert "pg_temp" in function.settings.split("search_path=")[1], function.proname
        if function.proname in {"request_embedding", "embedding_of"}:
            assert (function.volatility, function.parallel) == ("v", "u")
        else:
            assert (function.volatility, function.parallel) == ("s", "s"), function.proname
