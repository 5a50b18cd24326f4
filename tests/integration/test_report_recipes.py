"""docs/reports.md: every query is run over the sample and compared with the answer shown.

`APARELLA_WRITE_ANSWERS=1` writes the answers anew; look at the difference before it is committed.
"""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from aparella.client import answers
from aparella.db import engine, evaluations, jobs, models, records, statistics
from aparella.db.engine import transaction
from aparella.db.evaluations import Query
from aparella.db.records import UploadRow
from aparella.deploy import reports
from aparella.settings import Settings
from aparella.workers import context as worker_context
from aparella.workers import pipelines
from aparella.workers.context import Context
from aparella.workers.reconciler import answer_reports
from tests.integration import drive
from tests.integration.trigrams import GramEncoder

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "hospital"
DOC = ROOT / "docs" / "reports.md"
DASHBOARD = ROOT / "examples" / "dashboard"
DBT = ROOT / "examples" / "dbt" / "schema.yml"
RECIPE = re.compile(
    r"### (\d+)\. (.+?)\n.*?```sql\n(.*?)```\n+```text( varies)?\n(.*?)```", re.DOTALL
)
WRITE = bool(os.environ.get("APARELLA_WRITE_ANSWERS"))


@dataclass(frozen=True)
class Recipe:
    number: int
    question: str
    query: str
    varies: bool
    answer: str


def recipes() -> list[Recipe]:
    found = RECIPE.findall(DOC.read_text(encoding="utf-8"))
    return [Recipe(int(n), q, s.strip(), bool(v), a.rstrip("\n")) for n, q, s, v, a in found]


@pytest.fixture(scope="module")
def sample(
    template: tuple[sa.Engine, sa.URL, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """The sample, matched by two models, judged, and partly decided about."""
    server, url, origin = template
    name = f"{origin}_sample"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {origin}"))
    settings = Settings(
        DATABASE_URL=url.set(database=name).render_as_string(hide_password=False),
        artifacts=f"file://{tmp_path_factory.mktemp('artifacts')}",
        encoder="hash",
    )
    db = engine.create(settings, name="test")
    kept = worker_context.load_encoder
    try:
        _fill(Context(db, settings))
        yield settings
    finally:
        worker_context.load_encoder = kept
        db.dispose()
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def _fill(context: Context) -> None:
    worker_context.load_encoder = lambda *_: GramEncoder(3)
    _import(context, "catalogue", "code", ("family", "subfamily"))
    _import(context, "list", "line", ("unit",))
    job_id = drive.match(context.db, "list", "catalogue", k=10)
    drive.run(context)
    # Another version, whose vectors are others.
    with transaction(context.db) as connection:
        base = models.find_model(connection, None)
        other = int(
            connection.execute(
                sa.text(
                    "INSERT INTO model (name, version, base_model, parent_id, dim, max_seq_length, "
                    "artifact_url, sha256, cleaner_version, status, created_by) SELECT 'hospital', "
                    "1, base_model, id, dim, max_seq_length, 'file:///', 'x', cleaner_version, "
                    "'candidate', 'montse' FROM model WHERE id = :id RETURNING id"
                ),
                {"id": base.id},
            ).scalar_one()
        )
    worker_context.load_encoder = lambda *_: GramEncoder(4)
    with transaction(context.db) as connection:
        ids = [records.find_collection(connection, name).id for name in ("list", "catalogue")]
        other_job, _ = jobs.create(
            connection,
            kind="match",
            params={"source": "list", "target": "catalogue", "k": 10},
            plan=pipelines.match_stages(other, *ids, 10),
            model_id=other,
        )
    drive.run(context)
    worker_context.load_encoder = lambda *_: GramEncoder(3)
    _decide(context.db, job_id)
    _judge(context.db, {base.id: job_id, other: other_job})
    with transaction(context.db) as connection:
        statistics.refresh(connection)
    # A file with mistakes in it, and a text that a report has asked for.
    more = [UploadRow(3, "b", "", {}), UploadRow(4, "a", "BENA", {})]
    drive.upload(context.db, "orders", [("a", "GUANTS NITRIL TALLA M")], more=more)
    with transaction(context.db) as connection:
        connection.execute(sa.text("SELECT report.request_embedding('xeringa 20 ml luer lock')"))
        answer_reports(connection)
    context._encoder = None
    drive.run(context)


def _import(context: Context, name: str, key: str, attributes: tuple[str, ...]) -> None:
    file = SAMPLE / f"{name}.csv"
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [
            UploadRow(n, row[key], row["description"], {a: row[a] for a in attributes})
            for n, row in enumerate(csv.DictReader(lines), 2)
        ]
    drive.upload(context.db, name, [], more=rows)
    drive.run(context)


def _truth() -> dict[str, tuple[str, bool]]:
    with (SAMPLE / "pairs.csv").open(encoding="utf-8", newline="") as lines:
        return {row["line"]: (row["code"], row["known"] == "true") for row in csv.DictReader(lines)}


def _decide(db: sa.Engine, job_id: int) -> None:
    """Known pairs that were found are accepted; of every fourth such line the first is rejected."""
    decide = sa.text("""
        INSERT INTO decision (job_id, source_id, target_id, catalogue_id, source_hash,
                              target_hash, verdict, decided_by, note)
        SELECT :job, m.source_id, m.target_id, t.collection_id, s.text_hash, t.text_hash,
               :verdict, :by, :note
        FROM match m JOIN record s ON s.id = m.source_id JOIN record t ON t.id = m.target_id
        WHERE m.job_id = :job AND s.key = :line
          AND CASE WHEN :verdict = 'accept' THEN t.key = :code
                   ELSE t.key <> :code AND m.rank = 1 END
    """)
    with transaction(db) as connection:
        for line, (code, known) in sorted(_truth().items(), key=lambda item: int(item[0])):
            if not known:
                continue
            values = {"job": job_id, "line": line, "code": code}
            if int(line) % 4 == 0:
                rejected = {"verdict": "reject", "by": "jordi", "note": "another size"}
                connection.execute(decide, {**values, **rejected})
            accepted = {"verdict": "accept", "by": "montse", "note": None}
            connection.execute(decide, {**values, **accepted})


def _judge(db: sa.Engine, job_of: dict[int, int]) -> None:
    """An evaluation of both, as far as their ten candidates go."""
    found = sa.text("""
        SELECT s.key AS line, s.text_hash, t.key AS code, m.rank
        FROM match m JOIN record s ON s.id = m.source_id JOIN record t ON t.id = m.target_id
        WHERE m.job_id = :job
    """)
    truth = _truth()
    with transaction(db) as connection:
        pairs = int(
            connection.execute(
                sa.text("INSERT INTO pair_set (name) VALUES ('known') RETURNING id")
            ).scalar_one()
        )
        family = {
            row.key: row.family
            for row in connection.execute(
                sa.text("SELECT key, attributes ->> 'family' AS family FROM record")
            )
        }
        for model_id, job_id in job_of.items():
            ranks: dict[bytes, tuple[str, list[int]]] = defaultdict(lambda: ("", []))
            for row in connection.execute(found, {"job": job_id}):
                code, _ = truth.get(row.line, (None, False))
                if code is None:
                    continue
                ranks.setdefault(bytes(row.text_hash), (family[code], []))
                if row.code == code:
                    ranks[bytes(row.text_hash)][1].append(row.rank)
            queries = [
                Query(text, tuple(sorted(places)), 1, category)
                for text, (category, places) in sorted(ranks.items())
            ]
            first = sum(q.ranks[:1] == (1,) for q in queries) / len(queries)
            value = {"value": first, "low": first, "high": first}
            figures = {"overall": {"acc_1": value, "queries": len(queries)}}
            evaluations.store(
                connection,
                model_id=model_id,
                pair_set_id=pairs,
                job_id=job_id,
                method="holdout",
                split_sha256="x",
                figures=figures,
                queries=queries,
            )


def ask(settings: Settings, query: str) -> str:
    """The answer as a table of text."""
    source = reports.Source(settings.database_url, own=False)
    with reports.answer(source, query) as answer:
        names = [column.name for column in answer.columns]
        right = [column.kind in {"integer", "number"} for column in answer.columns]
        rows = [[answers.cell(v) or "" for v in row] for block in answer.blocks for row in block]
    widths = [max(len(row[i]) for row in [names, *rows]) for i in range(len(names))]

    def line(cells: list[str]) -> str:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(names), *(line(row) for row in rows)])


def test_every_answer_is_the_one_shown(sample: Settings) -> None:
    found = {recipe.number: ask(sample, recipe.query) for recipe in recipes()}
    if WRITE:
        text = DOC.read_text(encoding="utf-8")
        for recipe in recipes():
            start = text.index("```text", text.index(f"### {recipe.number}. "))
            start = text.index("\n", start) + 1
            text = text[:start] + found[recipe.number] + text[text.index("\n```", start - 1) :]
        DOC.write_text(text, encoding="utf-8")
    shown = recipes()
    assert len(shown) >= 15
    assert [recipe.number for recipe in shown] == list(range(1, len(shown) + 1))
    for recipe in shown:
        answer = found[recipe.number].splitlines()
        expected = recipe.answer.splitlines()
        if recipe.varies:
            # Times are a machine's own: the columns and the number of rows are not.
            assert answer[0].split() == expected[0].split(), recipe.question
            assert len(answer) == len(expected), recipe.question
        else:
            assert answer == expected, recipe.question
        assert len(answer) > 1, f"nothing is shown: {recipe.question}"


@pytest.mark.parametrize("panel", sorted(DASHBOARD.glob("*.sql")), ids=lambda path: path.stem)
def test_every_panel_of_the_dashboard_has_an_answer(sample: Settings, panel: Path) -> None:
    text = panel.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    assert len(ask(sample, text).splitlines()) > 1


def test_the_dbt_sources_are_the_views(sample: Settings) -> None:
    db = sa.create_engine(Settings(DATABASE_URL=sample.database_url).sqlalchemy_url)
    query = sa.text("""
        SELECT c.relname AS view, obj_description(c.oid) AS about, a.attname AS name,
               col_description(c.oid, a.attnum) AS description
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'report'::regnamespace AND c.relkind = 'v'
        ORDER BY c.relname, a.attnum
    """)
    lines = [
        "# dbt sources of Aparella's contract for reports. Made from the views' comments; a test",
        "# compares it with them.",
        "version: 2",
        "sources:",
        "  - name: aparella",
        "    schema: report",
        "    tables:",
    ]
    with db.connect() as connection:
        last = None
        for row in connection.execute(query):
            if row.view != last:
                lines += [f"      - name: {row.view}", f"        description: {_yaml(row.about)}"]
                lines += ["        columns:"]
                last = row.view
            lines += [f"          - name: {row.name}"]
            lines += [f"            description: {_yaml(row.description)}"]
    db.dispose()
    expected = "\n".join(lines) + "\n"
    if WRITE:
        DBT.parent.mkdir(exist_ok=True)
        DBT.write_text(expected, encoding="utf-8")
    assert DBT.read_text(encoding="utf-8") == expected


def _yaml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
